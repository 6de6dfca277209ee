"""Owns the sides of a comparison: processes that work when they are told to and stand still while others do."""

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from statistics import median
from typing import Any, NoReturn

import psutil

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 300  # for a side to be ready
ROUNDS = 5  # of three the median moved by up to 14 % between two runs on a shared machine
THREADS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")

Work = Callable[[int], tuple[float, float]]  # so many units of work to (things done, seconds)


@dataclass(frozen=True)
class Turn:
    """What a side did when it was its turn."""

    things: float  # photographs or rows, over all its processes
    seconds: float  # of its slowest process
    rate: float  # things a second, summed over its processes


class Side:
    """One or several processes of one role, stopped (SIGSTOP) but for their turns."""

    def __init__(
        self,
        role: str,
        arguments: dict[str, Any],
        processes: int = 1,
        workers: int = 1,
        cores: int | None = None,
        warm_up: int = 1,
    ):
        """
        role: a name in bench_roles.ROLES.
        processes: how many are started; each is a side of its own that knows nothing of the others.
        workers: how many answer to the bench: the ranks where one process starts several.
        cores: so many threads for numerical libraries; None leaves it to the role.
        warm_up: units of work before the clock: what is only done once (graphs traced, pages read, a JVM's code
            compiled) comes before it, and the last of them tells how long a unit takes.
        """
        self._role = role
        self._folder = tempfile.TemporaryDirectory(prefix="dermaspark-side-")
        address = str(Path(self._folder.name) / "socket")
        environment = {**os.environ, "SPARK_LOCAL_IP": "127.0.0.1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        environment |= {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": f"{ROOT / 'lib'}{os.pathsep}{ROOT / 'scripts'}"}
        environment |= dict.fromkeys(THREADS, str(cores)) if cores else {}
        command = [sys.executable, "-m", "bench_roles", role, address, json.dumps(arguments)]
        self._said = open(Path(self._folder.name) / "said", "w+b")  # noqa: SIM115 - closed by close()
        self._connections: list[Connection] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": self._said, "stderr": self._said}
        try:
            with Listener(address) as listener:  # in a folder that nobody else may enter
                for _ in range(processes):
                    self._processes.append(subprocess.Popen(command, env=environment, **streams))
                self._accept(listener, processes * workers)
            for _ in range(warm_up):
                self.last = self.take_turn(1)
        except EOFError:
            self._fail()
        except BaseException:
            self.close()
            raise

    def take_turn(self, units: int) -> Turn:
        self._signal(signal.SIGCONT)
        for connection in self._connections:
            connection.send_bytes(json.dumps(units).encode())
        try:
            answers = [json.loads(connection.recv_bytes()) for connection in self._connections]
        except EOFError:
            self._fail()
        self.units = units
        self._signal(signal.SIGSTOP)
        things, seconds = [a[0] for a in answers], [a[1] for a in answers]
        return Turn(sum(things), max(seconds), sum(n / s for n, s in answers))

    def _accept(self, listener: Listener, count: int) -> None:
        """EOFError where a process ends before all have come."""
        waiting: Any = listener._listener._socket  # type: ignore[attr-defined]  # a Listener has no timeout
        waiting.settimeout(1.0)
        deadline = time.monotonic() + START_SECONDS
        while len(self._connections) < count:
            with suppress(TimeoutError):
                self._connections.append(listener.accept())
            if time.monotonic() > deadline or any(process.poll() is not None for process in self._processes):
                raise EOFError

    def _fail(self) -> NoReturn:
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").splitlines()[-30:]
        self.close()
        sys.exit("\n".join([f"the side {self._role} failed:", *lines]))

    def take_turn_of(self, seconds: float) -> Turn:
        """A turn of about so many seconds, at least one unit of work."""
        self.last = self.take_turn(max(1, math.ceil(seconds / (self.last.seconds / self.units))))
        return self.last

    def close(self) -> None:
        self._signal(signal.SIGKILL)
        for process in self._processes:
            process.wait()
        self._said.close()
        self._folder.cleanup()

    def __enter__(self) -> "Side":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _signal(self, number: signal.Signals) -> None:
        """To these processes and all below them."""
        for process in self._processes:
            with suppress(psutil.NoSuchProcess):
                root = psutil.Process(process.pid)
                for each in [*root.children(recursive=True), root]:
                    with suppress(psutil.NoSuchProcess):
                        each.send_signal(number)


def alternate(sides: Mapping[str, Side], seconds: float) -> dict[str, list[dict[str, float]]]:
    """Turns of each side, one after the other in ROUNDS rounds, each round in the order opposite to the last.

    `seconds` of work for each in all, at least about: a turn is a unit of work or more.
    """
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for number in range(ROUNDS):
        for name in list(sides) if number % 2 == 0 else reversed(list(sides)):
            turns[name].append(asdict(sides[name].take_turn_of(seconds / ROUNDS)))
    return turns


def ratio(turns: Mapping[str, list[dict[str, float]]], ours: str, theirs: str) -> float:
    """The median over the rounds of how fast ours was against theirs in the same round."""
    return median(a["rate"] / b["rate"] for a, b in zip(turns[ours], turns[theirs], strict=True))


def rate(turns: list[dict[str, float]]) -> float:
    return median(turn["rate"] for turn in turns)


def serve(address: str, work: Work) -> None:
    """The side's part: answer until the bench closes the connection."""
    with Client(address) as connection, suppress(EOFError):
        while True:
            units = json.loads(connection.recv_bytes())
            connection.send_bytes(json.dumps(work(units)).encode())


def timed(step: Callable[[], float], get_ready: Callable[[], None]) -> Work:
    """A side whose unit of work is one call of `step`, which tells how many things it did.

    `get_ready` is called before the clock starts: a side has stood still since its last turn.
    """

    def work(units: int) -> tuple[float, float]:
        get_ready()
        start = time.perf_counter()
        things = float(sum(step() for _ in range(units)))
        return things, time.perf_counter() - start

    return work
