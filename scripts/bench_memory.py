"""Owns the peaks of memory: of every process of a run of preprocessing and training, by what the process is."""

import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

import psutil
from bench_photographs import make_set

ROOT = Path(__file__).resolve().parents[1]
SIZE = (96, 72)  # pixels
LOOK_SECONDS = 0.1  # between two looks; a peak is kept by the kernel (VmHWM) until the process ends
SETTINGS = {
    "preprocess": ["augment.copies=1"],
    "train": ["train.num_processes=2", "train.epochs=2", "train.batch_size=512", "train.copies_per_epoch=1"],
}
# A JVM's heap follows what is alive in it, not how much garbage a long run makes: as in scale.py.
HEAP_FOLLOWS_USE = "-XX:+UseSerialGC -Xms128m -Xmn64m -XX:MinHeapFreeRatio=10 -XX:MaxHeapFreeRatio=20"
PEAK = re.compile(r"VmHWM:\s+(\d+) kB")


def peaks(source: Path, folder: Path, count: int, config: str) -> dict[str, float]:
    """MiB of the largest process of each kind, with executors of their own (local-cluster)."""
    make_set(source, folder / "photographs", count, SIZE)
    paths = {
        "preprocess": [f"input.path={folder}/photographs", f"output.path={folder}/dataset"],
        "train": [f"data.path={folder}/dataset", f"model.path={folder}/model"],
    }
    found: dict[str, float] = {}
    for job, settings in SETTINGS.items():
        for kind, size in _run(job, ["--config", config, *paths[job], *settings]).items():
            found[f"{job}: {kind}"] = size
    return found


def _run(job: str, arguments: list[str]) -> dict[str, float]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_CONF_DIR": str(ROOT / "conf")}
    command = ["spark-submit", "--master", "local-cluster[2,1,1024]", "--conf", "spark.executor.memory=1g"]
    command += ["--driver-memory", "1g", "--driver-java-options", HEAP_FOLLOWS_USE]
    command += ["--conf", f"spark.executor.extraJavaOptions={HEAP_FOLLOWS_USE}"]
    local = ["--conf", "spark.driver.host=127.0.0.1", "--conf", "spark.driver.bindAddress=127.0.0.1"]
    command += [*local, "--conf", "spark.sql.shuffle.partitions=8", str(ROOT / "jobs" / f"{job}.py"), *arguments]
    found: dict[str, float] = {}
    over = Event()
    with subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as run:
        watcher = Thread(target=_watch, args=(run.pid, found, over))
        watcher.start()
        said = run.communicate()[0]
        over.set()
        watcher.join()
    if run.returncode:
        sys.exit(f"{job} failed:\n{said[-3000:]}")
    return found


def _watch(pid: int, found: dict[str, float], over: Event) -> None:
    while not over.wait(LOOK_SECONDS):
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(pid)
            for process in [root, *root.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess, OSError):
                    if (kind := _kind(process)) and (
                        peak := PEAK.search(Path(f"/proc/{process.pid}/status").read_text())
                    ):
                        found[kind] = max(found.get(kind, 0.0), int(peak[1]) / 1024)


def _kind(process: psutil.Process) -> str | None:
    words = process.cmdline()
    parent = process.parent()
    if "dermaspark.rank" in words:
        return "rank"
    if "pyspark.daemon" in words:  # the workers are its forks
        return "Python worker" if parent and "pyspark.daemon" in parent.cmdline() else None
    if any("CoarseGrainedExecutorBackend" in word for word in words):
        return "executor's JVM"
    if any("SparkSubmit" in word for word in words):
        return "driver's JVM"
    return "driver's Python" if any(word.startswith(str(ROOT / "jobs")) for word in words) else None
