"""Owns the scale test: ten times the photographs must take ten times the time at most, and no more memory.

    python scripts/scale.py [--photographs 10000 100000] [--jobs audit preprocess] [--master local-cluster[2,1,1024]]

Draws sets of small photographs into a temporary folder, runs jobs/audit.py and jobs/preprocess.py on each as
spark-submit does, and watches the driver: its JVM and its Python. Exit status 1 where the driver of a larger set
took more than 1.15 times the memory of the smallest set's, or its time grew faster than the photographs.

Executors have processes of their own here, as on a cluster, so that their work is not taken for the driver's. The
driver's heap may grow to HEAP, the same for every set, but is given back what is not in use after each full
collection: the most that it holds follows what is alive in it, and not how much garbage a long run makes.
"""

import argparse
import csv
import io
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "lib"))

from dermaspark.randomness import generator  # noqa: E402 - the library is found by the line above

MOST_MEMORY = 1.15  # times the smallest set's
NOISE = 1.1  # of a time, before it counts as growing
CLASSES = 9
OF_LESION = 2  # photographs
TESTED = 10  # one lesion in so many is a test lesion
SIZE = (96, 72)  # pixels
CELLS = (8, 6)  # of random colour, which make a photograph: no two are alike
HEAP = "1g"
HEAP_FOLLOWS_USE = "-XX:+UseSerialGC -Xms128m -Xmn64m -XX:MinHeapFreeRatio=10 -XX:MaxHeapFreeRatio=20"
SMALL = ("image.height=32", "image.width=32", "augment.copies=1", "features.families=[]")
SET = ("input.path=photographs", "input.groups=lesions.csv")
JOBS = {
    "audit": (*SET, "report.path=audit"),
    "preprocess": (*SET, "output.path=dataset", *SMALL),
}
SECONDS_BETWEEN_LOOKS = 0.2


class Cost(NamedTuple):
    """Of one job on one set."""

    job: str
    photographs: int
    seconds: float
    memory: dict[str, int]  # bytes, the most of each process of the driver: JVM and Python

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {n / 2**20:,.0f}" for name, n in self.memory.items())
        rate = self.photographs / self.seconds
        return (
            f"{self.job:<10} {self.photographs:>9,} photographs {self.seconds:8.1f} s {rate:7,.0f}/s   "
            f"driver {self.total / 2**20:,.0f} MiB ({parts})"
        )

    @property
    def total(self) -> int:
        return sum(self.memory.values())


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="See what ten times the photographs cost.")
    parser.add_argument("--photographs", nargs="+", type=int, default=[10_000, 100_000], metavar="N")
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--master", default="local-cluster[2,1,1024]")
    options = parser.parse_args(arguments)
    costs: list[Cost] = []
    for n in sorted(options.photographs):
        with tempfile.TemporaryDirectory(prefix="dermaspark-scale-") as name:
            folder = Path(name)
            draw(folder, n)
            for job in options.jobs:
                costs.append(measure(folder, options.master, job, n))
                print(costs[-1], flush=True)
    faults = find_faults(costs)
    print(*(faults or ["no bound was missed"]), sep="\n")
    return 1 if faults else 0


def find_faults(costs: list[Cost]) -> list[str]:
    """What grew too fast, against the smallest set of the same job."""
    faults = []
    for cost in costs:
        least = min((other for other in costs if other.job == cost.job), key=lambda other: other.photographs)
        memory, seconds = cost.total / least.total, cost.seconds / least.seconds
        of = f"{cost.job} of {cost.photographs:,} photographs: {{:.2f}} times the {{}} of {least.photographs:,}"
        if memory > MOST_MEMORY:
            faults.append(of.format(memory, "driver's memory") + f", more than {MOST_MEMORY}")
        if seconds > NOISE * cost.photographs / least.photographs:
            faults.append(of.format(seconds, "time"))
    return faults


# ---- the photographs ----


def draw(folder: Path, n: int) -> None:
    """`n` photographs in class folders, OF_LESION of each lesion, and the table of lesions."""
    for split in ("Train", "Test"):
        for label in range(CLASSES):
            (folder / "photographs" / split / f"class {label}").mkdir(parents=True)
    with multiprocessing.Pool() as pool:
        for _ in pool.imap_unordered(draw_one, ((folder, i) for i in range(n)), chunksize=500):
            pass
    with (folder / "lesions.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image_id", "lesion_id"])
        table.writerows((f"photo_{i}", f"lesion_{i // OF_LESION}") for i in range(n))


def draw_one(task: tuple[Path, int]) -> None:
    folder, i = task
    lesion = i // OF_LESION
    split = "Test" if lesion % TESTED == 0 else "Train"
    cells = generator(0, "scale", str(i)).integers(0, 256, (CELLS[1], CELLS[0], 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(cells).resize(SIZE, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=85)
    place = folder / "photographs" / split / f"class {lesion // TESTED % CLASSES}"
    (place / f"photo_{i}.jpg").write_bytes(buffer.getvalue())


# ---- the jobs ----


def measure(folder: Path, master: str, job: str, n: int) -> Cost:
    """Run a job to its end. SystemExit where it fails."""
    command = ["spark-submit", "--master", master, "--driver-memory", HEAP, "--driver-java-options", HEAP_FOLLOWS_USE]
    for key in ("host", "bindAddress"):
        command += ["--conf", f"spark.driver.{key}=127.0.0.1"]
    command += ["--conf", "spark.sql.shuffle.partitions=8", "--conf", f"spark.local.dir={folder}/spark"]
    command += [str(ROOT / "jobs" / f"{job}.py"), *JOBS[job]]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_CONF_DIR": str(folder)}
    log = folder / f"{job}.log"
    started = time.monotonic()
    with (
        log.open("w") as file,
        subprocess.Popen(command, cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT) as submitted,
    ):
        memory: dict[str, int] = {}
        try:
            while submitted.poll() is None:
                look(submitted.pid, job, memory)
                time.sleep(SECONDS_BETWEEN_LOOKS)
        finally:
            submitted.terminate()  # where this script is interrupted: Spark's driver takes its executors with it
    seconds = time.monotonic() - started
    if submitted.returncode:
        sys.exit(f"{job} of {n} photographs failed:\n{log.read_text()[-3000:]}")
    return Cost(job, n, seconds, memory)


def look(driver: int, job: str, memory: dict[str, int]) -> None:
    """Note the most memory that the driver's JVM and its Python have had until now (Linux: VmHWM)."""
    jvm = psutil.Process(driver)  # spark-submit becomes it
    for process in (jvm, *jvm.children()):
        with suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):  # it has just ended
            if process == jvm or any(word.endswith(f"jobs/{job}.py") for word in process.cmdline()):
                status = Path(f"/proc/{process.pid}/status").read_text()
                peak = [int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM:")]
                name = "JVM" if process == jvm else "Python"
                memory[name] = max([memory.get(name, 0), *peak])


if __name__ == "__main__":
    sys.exit(main())
