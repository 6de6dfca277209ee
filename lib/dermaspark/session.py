"""The Spark session of a job: loopback on a laptop, this Python and this library on every executor."""

import logging
import os
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyspark import SparkConf, SparkContext
from pyspark.sql import SparkSession

PACKAGE = Path(__file__).parent

# A barrier stage that finds too few slots fails in seconds, not after ten minutes of retries.
BARRIER_CHECK = {
    "spark.scheduler.barrier.maxConcurrentTasksCheck.interval": "1s",
    "spark.scheduler.barrier.maxConcurrentTasksCheck.maxFailures": "3",
}
# Rows have pixels: few at a time are kept, fetched or sent to Python, so that memory does not grow with their number.
ROWS_AT_A_TIME = {
    "spark.sql.inMemoryColumnarStorage.batchSize": "128",
    "spark.sql.execution.arrow.maxBytesPerBatch": "4m",
    "spark.reducer.maxSizeInFlight": "8m",  # from other executors, by each task: Spark's own is 48 MB
    "spark.buffer.pageSize": "4m",  # what each sort and aggregation takes to start with: Spark's own is 32 MB of 1 GB
}
# The heavy work is in Python: plans made anew between stages, and code compiled for them, cost more than they save.
# So does describing each plan in full to the event log: a fifth of what the small steps of preprocessing take the JVM.
ONE_MACHINE = {
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.ui.explainMode": "simple",
    "spark.sql.maxPlanStringLength": "1000",
}
TASKS_A_CORE = 2  # of a shuffle on one machine: Spark's 200 are for clusters


@contextmanager
def spark_session(name: str, log_level: str) -> Iterator[SparkSession]:
    """A session for one job, stopped at its end, whose executors can import this library.

    What spark-submit was told goes before anything that is set here.
    """
    SparkContext._ensure_initialized()  # a SparkConf made before the JVM does not know what spark-submit was told
    conf = SparkConf()
    defaults = {"spark.app.name": name, "spark.ui.enabled": "false", **BARRIER_CHECK, **ROWS_AT_A_TIME}
    defaults["spark.sql.session.timeZone"] = "UTC"
    # A task's stack trace reaches the driver as an exception and is told in a line; Spark's log repeats it.
    defaults["spark.log.level"] = "WARN" if log_level == "debug" else "OFF"
    defaults["spark.ui.showConsoleProgress"] = str(sys.stderr.isatty()).lower()
    local = conf.get("spark.master", "local[*]").startswith("local")
    if local:
        defaults |= ONE_MACHINE
        defaults["spark.driver.host"] = defaults["spark.driver.bindAddress"] = "127.0.0.1"
    for key, value in defaults.items():
        conf.setIfMissing(key, value)
    if not conf.contains("spark.pyspark.python"):
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    spark = SparkSession.builder.config(conf=conf).getOrCreate()
    if local and not conf.contains("spark.sql.shuffle.partitions"):
        tasks = TASKS_A_CORE * spark.sparkContext.defaultParallelism
        spark.conf.set("spark.sql.shuffle.partitions", str(tasks))
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


class WithoutStackTraces(logging.Formatter):
    """Messages alone: what libraries log with a stack trace they raise too, and the job says that in a line."""

    def formatException(self, ei: object) -> str:  # noqa: N802 - logging's own name
        return ""


def start_logging(log_level: str) -> None:
    """One line a message on stderr, ours from INFO up and other libraries' from ERROR up; stack traces for debug."""
    handler = logging.StreamHandler(sys.stderr)
    if log_level != "debug":
        handler.setFormatter(WithoutStackTraces())
    logging.basicConfig(level=logging.ERROR, handlers=[handler], force=True)
    logging.getLogger("dermaspark").setLevel(logging.DEBUG if log_level == "debug" else logging.INFO)
