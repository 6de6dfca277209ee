"""What is wrong with a set of photographs: `spark-submit jobs/audit.py input.path=photographs report.path=audit`."""

import sys
from pathlib import Path

from pyspark.sql import SparkSession

JOBS = Path(__file__).resolve().parent
sys.path.insert(0, str(JOBS.parent / "lib"))

from dermaspark import examination, job, summary  # noqa: E402 - the library is found by the line above
from dermaspark.config import Config  # noqa: E402


def audit(spark: SparkSession, config: Config) -> None:
    figures = examination.examine(spark, config)
    for name, n in figures["counts"].items():
        print(f"{name.replace('_', ' '):<28} {n:>9,}")
    canary, source = figures["canary"], figures["source"]
    if canary:
        chance = f"balanced accuracy {canary['balanced_accuracy']:.3f}, chance {canary['chance']:.3f}"
        print(f"size, bytes, JPEG quality and mean colour alone tell the classes with a {chance}")
    if source:
        told = f"balanced accuracy {source['balanced_accuracy']:.3f}, Cramer's V {summary.shown(source['cramers_v'])}"
        print(f"the source alone tells the classes with at most a {told}")
    print(f"audit  {config.report.path}/audit.html")


if __name__ == "__main__":
    job.run("audit", audit, JOBS)
