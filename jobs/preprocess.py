"""Photographs to a dataset: `spark-submit jobs/preprocess.py input.path=photographs output.path=dataset`."""

import sys
from pathlib import Path

from pyspark.sql import SparkSession

JOBS = Path(__file__).resolve().parent
sys.path.insert(0, str(JOBS.parent / "lib"))

from dermaspark import job, preparation  # noqa: E402 - the library is found by the line above
from dermaspark.config import Config  # noqa: E402


def preprocess(spark: SparkSession, config: Config) -> None:
    manifest = preparation.prepare(spark, config)
    counts, place = manifest.counts, config.output.path or preparation.DEFAULT_OUTPUT
    print(f"dataset      {place} ({len(manifest.classes)} classes, {len(manifest.files)} files)")
    print("photographs  " + ", ".join(f"{name} {n}" for name, n in counts.items()))
    print(f"copies       {manifest.copies} of each training photograph, the photograph itself included")


if __name__ == "__main__":
    job.run("preprocess", preprocess, JOBS)
