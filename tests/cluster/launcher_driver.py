"""A driver of its own for the launcher's tests: `python launcher_driver.py MASTER SCENARIO...`.

Prints one JSON line for each scenario. In each, two ranks report their processes (their own, Spark's Python
worker, its daemon, the executor's JVM) ten times a second, and the driver kills one of rank 1's.
"""

import json
import logging
import os
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "lib"))
os.environ.update(SPARK_LOCAL_IP="127.0.0.1", PYSPARK_PYTHON=sys.executable)

from dermaspark.errors import UserError
from dermaspark.launcher import HorovodDistributor
from dermaspark.session import BARRIER_CHECK, ship_library
from pyspark.sql import SparkSession

VICTIMS = ("rank", "worker", "daemon", "executor")  # from the rank's process upwards
SECONDS = 0.1  # between two reports


def beat(beats: int) -> dict:
    """A rank that only reports; returns what it knows of its run."""
    import time

    import psutil
    from dermaspark import rank

    me = psutil.Process()
    print(f"rank {rank.context().rank} runs", flush=True)
    for i in range(beats):
        rank.report(i=i, attempt=rank.context().attempt, pids=[me.pid, *(p.pid for p in me.parents()[:3])])
        time.sleep(SECONDS)
    return {"attempt": rank.context().attempt, "deaths": [death.cause for death in rank.context().deaths]}


def allreduce() -> float:
    import horovod.tensorflow as hvd
    import tensorflow as tf
    from dermaspark import rank

    hvd.init()
    rank.report(ready=time.time())
    return float(hvd.allreduce(tf.constant([hvd.rank() + 1.0]), op=hvd.Sum)[0])


class Watch:
    """Notes every process that reports, and kills one of rank 1's in its first start."""

    def __init__(self, victim: str | None) -> None:
        self.victim, self.killed_at = victim, 0.0
        self.processes: dict[int, list[int]] = {}
        self.ranks: set[int] = set()

    def __call__(self, rank: int, message: dict) -> None:
        self.processes[rank] = message["pids"]
        self.ranks.add(message["pids"][0])
        if (self.victim, rank, message["i"], message["attempt"]) == (self.victim, 1, 5, 0) and self.victim:
            os.kill(message["pids"][VICTIMS.index(self.victim)], signal.SIGKILL)
            self.killed_at = time.time()


def run(spark: SparkSession, scenario: str) -> dict:
    start = time.time()
    if scenario == "allreduce":
        ready: list[float] = []
        launcher = HorovodDistributor(spark, 2, on_message=lambda _, message: ready.append(message["ready"]))
        return {"sum": launcher.run(allreduce), "seconds_to_init": max(ready) - start}
    if scenario == "too_many":
        try:
            HorovodDistributor(spark, 5, slots_timeout=2).run(allreduce)
        except UserError as error:
            return {"error": str(error), "seconds": time.time() - start}
    if scenario == "forever":  # until this driver is killed
        HorovodDistributor(spark, 2, on_message=lambda _, m: print(json.dumps(m["pids"]), flush=True)).run(beat, 6000)
    watch = Watch(scenario)
    launcher = HorovodDistributor(spark, 2, max_restarts=1, on_message=watch)
    result = launcher.run(beat, 15)
    return {
        "result": result,
        "deaths": [asdict(death) for death in launcher.deaths],
        "seconds_to_notice": launcher.deaths[0].time - watch.killed_at,
        "seconds": time.time() - start,
        "alive": [pid for pid in watch.ranks if Path(f"/proc/{pid}").exists()],
        "executors": sorted({pids[3] for pids in watch.processes.values()}),
    }


def main(master: str, scenarios: list[str]) -> None:
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    options = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", **BARRIER_CHECK}
    options |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    builder = SparkSession.builder.master(master)
    for key, value in options.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("OFF")
    with tempfile.TemporaryDirectory() as folder:
        ship_library(spark, Path(folder))
        for scenario in scenarios:
            print(json.dumps({"scenario": scenario, **run(spark, scenario)}), flush=True)
        spark.stop()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
