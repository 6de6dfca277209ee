"""A driver of its own that loses an executor while it joins groups: `python lost_executor_driver.py MASTER`.

Prints one JSON line: how many `groups` a chain of photographs came to, and how many `executors` were killed.
"""

import json
import os
import sys
import tempfile
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "lib"))
os.environ.update(SPARK_LOCAL_IP="127.0.0.1", PYSPARK_PYTHON=sys.executable)

import psutil
from dermaspark import groups
from dermaspark.session import spark_session

ROUND = 3  # in which an executor is killed


def main(master: str) -> None:
    os.environ["PYSPARK_SUBMIT_ARGS"] = (
        f"--master {master} --conf spark.driver.host=127.0.0.1 --conf spark.driver.bindAddress=127.0.0.1 "
        "--conf spark.sql.shuffle.partitions=6 --conf spark.executor.memory=512m pyspark-shell"
    )
    with spark_session("lost executor", "info") as spark:
        checksum, seen, killed = groups.checksum, [], []

        def lose_one_then_sum(edges):
            seen.append(edges)
            if len(seen) == ROUND:
                victim = next(p for p in psutil.Process().children(recursive=True) if is_executor(p))
                victim.kill()
                victim.wait()
                killed.append(victim)
            return checksum(edges)

        groups.checksum = lose_one_then_sum
        groups.LINKS_OF_ONE_TASK = 0  # so that they are joined in rounds
        ids = [f"{i * 37 % 60:02d}" for i in range(60)]
        links = spark.createDataFrame(list(pairwise(ids)), "id_a string, id_b string")
        table = groups.components(links, spark.createDataFrame([(one,) for one in ids], "id string"))
        print(json.dumps({"groups": table.select("group").distinct().count(), "executors": len(killed)}), flush=True)


def is_executor(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):  # it may end while it is looked at
        return any("CoarseGrainedExecutorBackend" in word for word in process.cmdline())
    return False


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # Spark's workers keep their files where the driver was started
        main(sys.argv[1])
