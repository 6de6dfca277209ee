"""Owns one rank's process: it comes to life, runs the function, tells how it goes, and dies with its parent.

`python -m dermaspark.rank` is started by dermaspark.launch.supervisor with `HOROVOD_RANK` and its kin in the
environment. The function calls `hvd.init()` itself; `hvd.shutdown()` comes by itself when the process ends.
"""

from __future__ import annotations

import atexit
import ctypes
import faulthandler
import os
import pickle
import signal
import struct
import sys
import threading
from dataclasses import dataclass
from typing import IO, Any, NoReturn

import cloudpickle

from dermaspark.launch.channel import pack
from dermaspark.launch.deaths import Death, describe

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LENGTH = struct.Struct("!Q")  # stands before each pickle on a pipe


@dataclass(frozen=True)
class Context:
    """What a rank knows of itself. attempt: 0 at the first start, `len(deaths)` at each later one."""

    rank: int
    size: int
    attempt: int = 0
    deaths: tuple[Death, ...] = ()


_context = Context(rank=0, size=1)
_messages: IO[bytes] | None = None  # to the supervisor
_messages_lock = threading.Lock()


def context() -> Context:
    """This rank's; outside of a launched rank that of a single one."""
    return _context


def report(**message: Any) -> None:
    """Sends a message (JSON values) to the driver, where `on_message(rank, message)` gets it at once.

    It counts as progress: a rank that reports nothing for `stall_minutes` is taken for hung, so every rank
    reports, not only rank 0. Outside of a launched rank it does nothing: a function can be run plainly.
    ValueError for a message over 1 MiB.
    """
    _tell({"report": message})


def main() -> None:
    """Reads (function, arguments, attempt, deaths) from standard input; leaves the result on a pipe."""
    global _messages, _context
    _die_with_parent(int(sys.argv[1]))
    _messages = os.fdopen(int(sys.argv[2]), "wb")
    answer = os.fdopen(int(sys.argv[3]), "wb")
    orders = _take_standard_input()
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)  # the supervisor asks before it kills a hung rank
    rank, size = int(os.environ["HOROVOD_RANK"]), int(os.environ["HOROVOD_SIZE"])
    try:
        function, arguments, attempt, deaths = read_pickle(orders)
        threading.Thread(target=_die_at_end_of, args=(orders.fileno(),), daemon=True).start()
        _context = Context(rank, size, attempt, deaths)
        result = function(*arguments)
        with answer:
            write_pickle(answer, cloudpickle.dumps(result if rank == 0 else None))
    except Exception as error:
        _tell({"error": describe(error)})
        _leave(1)  # at once: an orderly end would wait for the other ranks
    atexit._run_exitfuncs()  # Horovod's is among them
    _leave(0)  # the interpreter would take another second to take TensorFlow apart


def _leave(code: int) -> NoReturn:
    sys.stdout.flush()
    os._exit(code)


def write_pickle(pipe: IO[bytes], pickled: bytes) -> None:
    """Writes the length of a pickle and the pickle."""
    pipe.write(_LENGTH.pack(len(pickled)) + pickled)
    pipe.flush()


def read_pickle(pipe: IO[bytes]) -> Any:
    """What `write_pickle` wrote: from an anonymous pipe between two processes of this run, nothing else."""
    return pickle.loads(pipe.read(*_LENGTH.unpack(pipe.read(_LENGTH.size))))  # noqa: S301


def is_whole(written: bytes | bytearray) -> bool:
    """Whether `write_pickle` came to its end."""
    return len(written) >= _LENGTH.size and len(written) == _LENGTH.size + _LENGTH.unpack_from(written)[0]


def _tell(message: dict[str, Any]) -> None:
    line = pack(message)
    if _messages is not None:
        with _messages_lock:
            _messages.write(line)
            _messages.flush()


def _take_standard_input() -> IO[bytes]:
    """The pipe that stood there; the function itself finds nothing to read."""
    pipe = os.fdopen(os.dup(0), "rb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return pipe


def _die_with_parent(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel was asked
        os._exit(1)


def _die_at_end_of(pipe: int) -> None:
    """The same where the kernel does not grant it: nobody but the supervisor holds the pipe's other end."""
    os.read(pipe, 1)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    # The module that the function will import, not this copy of it named __main__.
    from dermaspark import rank

    rank.main()
