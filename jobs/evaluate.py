"""A dataset and a bundle to a report: `spark-submit jobs/evaluate.py data.path=... model.path=... report.path=...`."""

import sys
from pathlib import Path

from pyspark.sql import SparkSession

JOBS = Path(__file__).resolve().parent
sys.path.insert(0, str(JOBS.parent / "lib"))

from dermaspark import evaluation, job, summary  # noqa: E402 - the library is found by the line above
from dermaspark.config import Config  # noqa: E402


def evaluate(spark: SparkSession, config: Config) -> None:
    figures = evaluation.evaluate(spark, config)
    print(summary.as_text(figures))
    print()
    for split, of in figures["splits"].items():
        if of["n"]:
            low, high = of["accuracy_ci95"]
            print(f"accuracy {split:<6} {of['accuracy']:.3f} (95 % interval {low:.3f} to {high:.3f}, n = {of['n']})")
    print(f"report   {config.report.path}/{evaluation.PAGE}")


if __name__ == "__main__":
    job.run("evaluate", evaluate, JOBS)
