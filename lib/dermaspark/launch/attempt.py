"""Owns one start of the ranks: a barrier stage from its first task's hello to its last task's end."""

from __future__ import annotations

import math
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark import InheritableThread, SparkContext

from dermaspark.errors import UserError
from dermaspark.launch.channel import Channel, Message
from dermaspark.launch.deaths import LAST_LINES, LOST, Death, cause_of, is_echo
from dermaspark.launch.slots import Place, assign_ranks

POLL_SECONDS = 0.2
ECHO_SECONDS = 2.0  # for the cause to be heard of after an echo of it
GOODBYE_SECONDS = 5.0  # for the tasks to end their ranks and themselves
CANCEL_SECONDS = 60.0  # for Spark to end tasks that did not

OnMessage = Callable[[int, dict[str, Any]], None]  # rank, what it reported


class LaunchError(Exception):
    """A rank died, or Spark's job did. Its message is one line; `death` has the rank's last lines too."""

    def __init__(self, death: Death) -> None:
        super().__init__(str(death))
        self.death = death


class SparkJob(InheritableThread):
    """The stage as Spark runs it, in a thread of its own: the driver's thread listens to the ranks."""

    def __init__(self, context: SparkContext, size: int, task: Callable[[Any], Any]) -> None:
        super().__init__(target=self._work, daemon=True, name="ranks")
        self.size = size
        self.results: list[Any] = []
        self.failure: Exception | None = None
        self._context, self._task = context, task
        self._group = f"dermaspark-{uuid.uuid4().hex}"

    def _work(self) -> None:
        try:
            self._context.setJobGroup(self._group, f"{self.size} Horovod ranks", interruptOnCancel=True)
            stage = self._context.parallelize(range(self.size), self.size).barrier()
            self.results = stage.mapPartitions(self._task).collect()
        except Exception as error:  # told by the thread that waits for this one
            self.failure = error

    def end(self) -> bool:
        """Waits for it, or cancels it; whether it is over, with all its tasks."""
        self.join(GOODBYE_SECONDS)
        if self.is_alive():
            self._context.cancelJobGroup(self._group)
            self.join(CANCEL_SECONDS)
        return not self.is_alive()


@dataclass
class _Rank:
    """What the driver knows of one task and its rank."""

    task: int
    rank: int  # its task's number, until all have come
    place: Place | None = None  # known when it has come
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))
    error: dict[str, Any] | None = None
    over: bool = False  # its process has ended
    reports: int = 0
    heard: float = math.inf  # monotonic; from its start on


class Attempt:
    """One start. `run` returns what rank 0 returned."""

    def __init__(
        self, number: int, job: SparkJob, channel: Channel, stall_minutes: float, on_message: OnMessage | None
    ) -> None:
        self._number, self._job, self._channel = number, job, channel
        self._stall_minutes, self._on_message = stall_minutes, on_message
        self._ranks = [_Rank(task, rank=task) for task in range(job.size)]
        self._first: _Rank | None = None  # the first to die, as far as is known
        self._cause, self._died_at = "", 0.0
        self._settles_at = 0.0  # monotonic; from then on an echo is believed
        self._stopping = False

    def run(self) -> Any:
        """UserError if a rank raised one, LaunchError if a rank died or Spark failed."""
        self._job.start()
        try:
            while (self._job.is_alive() or self._channel.connected) and not self._is_settled():
                self._listen(POLL_SECONDS)
                self._notice_a_stall()
        finally:
            self._end()
        if self._first is None and self._job.failure is None:
            return self._job.results[0]
        if self._first is not None and self._first.error is not None and self._first.error["user"]:
            raise UserError(self._first.error["message"])
        raise LaunchError(self._death())

    def _listen(self, seconds: float) -> None:
        for task, message in self._channel.poll(seconds):
            self._hear(self._ranks[task], message)

    def _hear(self, rank: _Rank, message: Message | None) -> None:
        match message:
            case {"ready": place}:
                rank.place = Place(**place)
                self._start_when_all_are_ready()
            case {"line": text, "stream": stream}:
                rank.lines.append(text)
                if rank.rank == 0 and not self._stopping:
                    print(text, file=getattr(sys, stream), flush=True)
            case {"report": report}:
                rank.reports, rank.heard = rank.reports + 1, time.monotonic()
                if self._on_message and not self._stopping:
                    self._on_message(rank.rank, report)
            case {"error": error}:
                rank.error = error
                rank.lines.extend(error["traceback"].splitlines())
            case {"ended": {"returned": returned, "code": code}}:
                rank.over = True
                if not returned:
                    self._note_death(rank, cause_of(rank.error, code), is_echo(rank.error))
            case None if not rank.over:
                rank.over = True
                self._note_death(rank, LOST)

    def _start_when_all_are_ready(self) -> None:
        places = [rank.place for rank in self._ranks if rank.place is not None]
        if len(places) == len(self._ranks):
            for rank, environment in zip(self._ranks, assign_ranks(places), strict=True):
                rank.rank, rank.heard = int(environment["HOROVOD_RANK"]), time.monotonic()
                self._channel.send(rank.task, {"environment": environment})

    def _note_death(self, rank: _Rank, cause: str, echo: bool = False) -> None:
        """The first death counts; but an echo gives way to a cause that is heard of soon after it."""
        if self._stopping or self._is_settled() or (self._first is not None and echo):
            return
        self._first, self._cause, self._died_at = rank, cause, time.time()
        self._settles_at = time.monotonic() + (ECHO_SECONDS if echo else 0.0)

    def _is_settled(self) -> bool:
        return self._first is not None and time.monotonic() >= self._settles_at

    def _notice_a_stall(self) -> None:
        """A rank that is silent for too long is hung; of several, the one that came least far."""
        since = time.monotonic() - 60 * self._stall_minutes
        silent = [rank for rank in self._ranks if not rank.over and rank.heard < since]
        if silent:
            furthest_back = min(silent, key=lambda rank: (rank.reports, rank.heard))
            self._note_death(furthest_back, f"no progress for {self._stall_minutes:g} minutes")

    def _end(self) -> None:
        """Has every rank killed and waits for the last task: none may write beside the next start's."""
        self._stopping = True
        self._channel.stop()
        deadline = time.monotonic() + GOODBYE_SECONDS
        while self._channel.connected and time.monotonic() < deadline:
            self._listen(POLL_SECONDS)
        if not self._job.end():
            raise RuntimeError(f"Spark has not ended the tasks of the ranks {CANCEL_SECONDS:g} s after it was told")

    def _death(self) -> Death:
        if self._first is None:
            return Death(None, "the driver", _first_line(self._job.failure), (), time.time(), self._number)
        rank = self._first
        host = rank.place.host if rank.place else "a host not known yet"
        return Death(rank.rank, host, self._cause, tuple(rank.lines), self._died_at, self._number)


def _first_line(error: Exception | None) -> str:
    """What Spark says of a failed job, without its stack traces."""
    said = str(error.java_exception.getMessage()) if isinstance(error, Py4JJavaError) else str(error)
    return (said.strip().splitlines() or [type(error).__name__])[0]
