"""Owns what is said of a rank that died: who, where, of what, and the last lines it wrote."""

from __future__ import annotations

import signal
import traceback
from dataclasses import dataclass
from typing import Any

from dermaspark.errors import UserError

LAST_LINES = 50  # kept of each rank
LOST = "its Spark task was lost (the executor or its Python worker died)"
PEER_GONE = "another rank of this host has gone"  # where ranks add up in memory that they share


@dataclass(frozen=True)
class Death:
    """The death that ended one start of the ranks.

    rank: None where Spark's job failed before any rank was known.
    cause: "ValueError: ...", "killed by SIGKILL", "exit code 3", `LOST`, "no progress for 10 minutes".
    lines: up to `LAST_LINES` lines of standard output and error, and the traceback, oldest first.
    time: seconds since the epoch, by the driver's clock.
    attempt: which start of the ranks it ended, from 0.
    """

    rank: int | None
    host: str
    cause: str
    lines: tuple[str, ...]
    time: float
    attempt: int

    def __str__(self) -> str:
        who = "Spark's job" if self.rank is None else f"rank {self.rank} on {self.host}"
        return f"{who} died: {self.cause}"


def describe(error: BaseException) -> dict[str, Any]:
    """An exception as plain data, to be sent to the driver."""
    return {
        "type": type(error).__name__,
        "message": str(error),
        "user": isinstance(error, UserError),
        "traceback": "".join(traceback.format_exception(error)),
    }


def cause_of(error: dict[str, Any] | None, code: int | None) -> str:
    """One line: the exception if there was one, else how the process ended (`code` as subprocess has it)."""
    if error is not None:
        first_line = (error["message"].strip().splitlines() or [""])[0]
        return f"{error['type']}: {first_line}"
    if code is None:
        return LOST
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return "ended without returning (exit code 0)" if code == 0 else f"exit code {code}"


def is_echo(error: dict[str, Any] | None) -> bool:
    """Whether a rank died of another's death: its Horovod, or its sum in shared memory, lost the connection.

    The rank that died first may be heard of a moment later, so an echo is not yet the answer.
    """
    return error is not None and any(sign in error["type"] + error["message"] for sign in ("Horovod", PEER_GONE))
