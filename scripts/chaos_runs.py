"""Owns what chaos.py disturbs: a standalone cluster on loopback, training runs on it, and their processes."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any, Self

import psutil
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

from dermaspark import bundle
from dermaspark.checkpoint import CheckpointStore
from sample_photographs import draw_set

ROOT = Path(__file__).resolve().parents[1]
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # that of this Python's spark-submit

PHOTOGRAPHS = {"train": 8, "test": 1}  # of each class
DATASET = ("image.height=16", "image.width=16", "augment.copies=7", "audit.near_copies=false", "features.families=[]")
# Eight copies of 63 photographs in steps of two rows: 252 steps, a second or two an epoch.
TRAINING = (
    *("train.copies_per_epoch=8", "train.batch_size=2", "train.num_processes=2"),
    *("network.name=seed", "network.hidden=[16]"),
)

EPOCH_ENDED = re.compile(r"^epoch (\d+)/\d+ ")
RUN_SECONDS = 600  # for a run to end, kill and restart included
LISTEN_SECONDS = 5  # for the last lines of a driver that has ended


@dataclass(frozen=True)
class Cluster:
    master: str  # URL
    workers: tuple[int, ...]  # process ids of its two workers, of one core each


@contextmanager
def standalone_cluster(folder: Path) -> Iterator[Cluster]:
    """A cluster of its own, with its state in `folder`/cluster, until the block ends."""
    environment = {**os.environ, "PATH": PATH, "DERMASPARK_CLUSTER": str(folder / "cluster")}
    script = str(ROOT / "scripts" / "local_cluster.sh")
    try:
        started = subprocess.run([script, "start"], env=environment, check=True, stdout=subprocess.PIPE, text=True)
        pids = [int(file.read_text()) for file in sorted((folder / "cluster").glob("worker-*.pid"))]
        yield Cluster(started.stdout.strip(), tuple(pids))
    finally:
        subprocess.run([script, "stop"], env=environment, check=True)


def submit(folder: Path, master: str, job: str, *arguments: str) -> "subprocess.Popen[str]":
    """Start a job in `folder` as a person does; its process becomes the driver's JVM."""
    environment = {name: os.environ[name] for name in ("HOME", "LANG", "JAVA_HOME") if name in os.environ}
    environment |= {"PATH": PATH, "SPARK_LOCAL_IP": "127.0.0.1"}
    settings = ["spark.driver.host=127.0.0.1", "spark.driver.bindAddress=127.0.0.1", "spark.sql.shuffle.partitions=2"]
    options = [word for setting in settings for word in ("--conf", setting)]
    command = ["spark-submit", "--master", master, *options, str(ROOT / "jobs" / f"{job}.py"), *arguments]
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}  # as spark-submit merges them
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, **streams)


def make_dataset(folder: Path) -> None:
    """`folder`/dataset, of photographs that it draws. SystemExit where preprocessing fails."""
    draw_set(folder / "photographs", seed=0, **PHOTOGRAPHS)
    with submit(folder, "local[2]", "preprocess", "input.path=photographs", "output.path=dataset", *DATASET) as job:
        said = job.communicate(timeout=RUN_SECONDS)[0]
    if job.returncode:
        sys.exit(f"preprocess failed:\n{said}")


Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Result:
    """What a run left."""

    history: list[dict[str, float]]
    deaths: list[dict[str, Any]]  # that its last driver knew of
    weights: Arrays  # of its bundle, and all of its last checkpoint


@dataclass
class Training:
    """One run, started as often as it takes, and what its drivers wrote when; as a context it does not outlive it."""

    folder: Path
    cluster: Cluster
    name: str  # of its bundle
    length: int  # epochs
    checkpoint_minutes: float = 10.0
    lines: list[tuple[float, str]] = field(default_factory=list)  # monotonic seconds, a line
    starts: int = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.starts and self.running:
            self.end()

    def start(self) -> None:
        self.starts += 1
        self._born = time.time()
        places = ("data.path=dataset", f"model.path={self.name}")
        length = (f"train.epochs={self.length}", f"train.checkpoint_minutes={self.checkpoint_minutes}")
        self._job = submit(self.folder, self.cluster.master, "train", *places, *TRAINING, *length)
        self._listener = Thread(target=self._listen, args=(self._job,), daemon=True)
        self._listener.start()

    def wait(self, seconds: float) -> int:
        """The exit status. TimeoutExpired where it does not end in time."""
        return self._job.wait(seconds)

    def hear_out(self) -> None:
        """Wait for the last lines of a run that has ended."""
        self._listener.join(LISTEN_SECONDS)

    def end(self) -> None:
        """Kill the driver; its ranks end with it."""
        for process in self.processes("driver"):
            process.kill()
        self._job.wait()

    def last_lines(self) -> str:
        return "\n".join(f"  | {line}" for _, line in self.lines[-30:])

    def _listen(self, job: "subprocess.Popen[str]") -> None:
        assert job.stdout is not None
        for line in job.stdout:
            self.lines.append((time.monotonic(), line.rstrip("\n")))

    @property
    def running(self) -> bool:
        return self._job.poll() is None

    @property
    def finished(self) -> bool:
        """Whether the bundle is there, whole."""
        return (self.folder / self.name / bundle.DOCUMENT).exists()

    def epochs(self, since: float = 0.0) -> list[tuple[float, int]]:
        """Every epoch that a driver said had ended: when, and which, counted from 1."""
        found = [(at, EPOCH_ENDED.match(line)) for at, line in list(self.lines) if at >= since]
        return [(at, int(match[1])) for at, match in found if match]

    def result(self) -> Result:
        # TensorFlow has nothing to say here: no GPU, and no note on oneDNN.
        os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", TF_ENABLE_ONEDNN_OPTS="0", CUDA_VISIBLE_DEVICES="")
        url = f"file://{self.folder}/{self.name}"
        left = bundle.load(url)
        weights = {f"bundle/{i}": array for i, array in enumerate(left.model.get_weights())}
        if last := CheckpointStore(f"{url}.checkpoints").read_last():
            weights |= last.arrays
        return Result(left.history, left.training["deaths"], weights)

    def processes(self, kind: str) -> list[psutil.Process]:
        """This run's processes of one of `KINDS`, of its last start."""
        above = [self._job.pid] if kind == "driver" else self.cluster.workers
        found = []
        for process in _family(above):
            with suppress(psutil.NoSuchProcess):
                if process.create_time() >= self._born - 1 and KINDS[kind](process):
                    found.append(process)
        return sorted(found, key=lambda process: process.pid)


def _family(pids: "tuple[int, ...] | list[int]") -> list[psutil.Process]:
    """These processes and all their descendants."""
    found = []
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            found += [process, *process.children(recursive=True)]
    return found


def _is_rank(process: psutil.Process) -> bool:
    return "HOROVOD_RANK" in process.environ()


def _is_executor(process: psutil.Process) -> bool:
    return any("CoarseGrainedExecutorBackend" in word for word in process.cmdline())


def _is_daemon(process: psutil.Process) -> bool:
    """Spark's daemon of Python workers: the workers are its forks, so its parent tells it from them."""
    parent = process.parent()
    return "pyspark.daemon" in process.cmdline() and parent is not None and _is_executor(parent)


def _is_driver(process: psutil.Process) -> bool:
    """The JVM, which spark-submit became, or the Python below it."""
    return any(word.endswith("/train.py") for word in process.cmdline())


KINDS: dict[str, Callable[[psutil.Process], bool]] = {
    "rank": _is_rank,
    "executor": _is_executor,
    "daemon": _is_daemon,
    "driver": _is_driver,
}


def describe(kind: str, process: psutil.Process) -> str:
    if kind == "rank":
        return f"rank {process.environ()['HOROVOD_RANK']}"
    return f"{kind}'s {process.name()}" if kind == "driver" else kind


def wait_until_gone(processes: list[psutil.Process], deadline: float) -> list[psutil.Process]:
    """Those that are still there at a monotonic time."""
    while (alive := [process for process in processes if _is_alive(process)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    return alive


def _is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
