"""Grouped cross-validation: `spark-submit jobs/crossval.py input.path=photographs output.path=folder`."""

import sys
from pathlib import Path

from pyspark.sql import SparkSession

JOBS = Path(__file__).resolve().parent
sys.path.insert(0, str(JOBS.parent / "lib"))

from dermaspark import crossval, job, summary  # noqa: E402 - the library is found by the line above
from dermaspark.config import Config  # noqa: E402


def cross_validate(spark: SparkSession, config: Config) -> None:
    figures = crossval.cross_validate(spark, config)
    print(summary.as_text(figures))
    print(f"\nreport   {config.output.path or crossval.DEFAULT_OUTPUT}/report.html")


if __name__ == "__main__":
    job.run("crossval", cross_validate, JOBS)
