"""The Spark session of a job: loopback on a laptop, this Python and this library on every executor."""

import logging
import os
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyspark import SparkConf
from pyspark.sql import SparkSession

PACKAGE = Path(__file__).parent

# A barrier stage that finds too few slots fails in seconds, not after ten minutes of retries.
BARRIER_CHECK = {
    "spark.scheduler.barrier.maxConcurrentTasksCheck.interval": "1s",
    "spark.scheduler.barrier.maxConcurrentTasksCheck.maxFailures": "3",
}


@contextmanager
def spark_session(name: str, log_level: str) -> Iterator[SparkSession]:
    """A session for one job, stopped at its end, whose executors can import this library.

    What spark-submit was told goes before anything that is set here.
    """
    conf = SparkConf()
    defaults = {"spark.app.name": name, "spark.ui.enabled": "false", **BARRIER_CHECK}
    defaults["spark.sql.session.timeZone"] = "UTC"
    # A task's stack trace reaches the driver as an exception and is told in a line; Spark's log repeats it.
    defaults["spark.log.level"] = "WARN" if log_level == "debug" else "OFF"
    defaults["spark.ui.showConsoleProgress"] = str(sys.stderr.isatty()).lower()
    if conf.get("spark.master", "local[*]").startswith("local"):
        # One machine: Spark's 200 partitions a shuffle are for clusters.
        defaults["spark.sql.shuffle.partitions"] = "8"
        defaults["spark.driver.host"] = defaults["spark.driver.bindAddress"] = "127.0.0.1"
    for key, value in defaults.items():
        conf.setIfMissing(key, value)
    if not conf.contains("spark.pyspark.python"):
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    spark = SparkSession.builder.config(conf=conf).getOrCreate()
    # Executors fetch the library from this folder at any time, so it lives as long as the session.
    with tempfile.TemporaryDirectory(prefix="dermaspark-") as folder:
        try:
            ship_library(spark, Path(folder))
            yield spark
        finally:
            spark.stop()


def ship_library(spark: SparkSession, folder: Path) -> None:
    """Put this library on every executor's path, where no checkout is: a zip, made in `folder`."""
    archive = folder / "dermaspark.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(PACKAGE.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                file.write(path, Path("dermaspark") / path.relative_to(PACKAGE))
    spark.sparkContext.addPyFile(str(archive))


def start_logging(log_level: str) -> None:
    """One line a message on stderr, ours from INFO up and other libraries' from ERROR up."""
    logging.basicConfig(stream=sys.stderr, level=logging.ERROR, format="%(message)s", force=True)
    logging.getLogger("dermaspark").setLevel(logging.DEBUG if log_level == "debug" else logging.INFO)
