"""A bundle and a dataset to a report: `spark-submit jobs/evaluate.py data.path=... model.path=... report.path=...`.

Or an outside test, on folders of photographs: `input.path=FOLDER [labels.map=FILE.csv]` in place of `data.path`.
"""

import sys
from pathlib import Path

from pyspark.sql import SparkSession

JOBS = Path(__file__).resolve().parent
sys.path.insert(0, str(JOBS.parent / "lib"))

from dermaspark import evaluation, job, outside, summary  # noqa: E402 - the library is found by the line above
from dermaspark.config import Config  # noqa: E402


def evaluate(spark: SparkSession, config: Config) -> None:
    what = outside if outside.asked_for(config, sys.argv[1:]) else evaluation
    figures = what.evaluate(spark, config)
    print(summary.as_text(figures))
    print()
    for split, of in figures["splits"].items():
        if of["n"]:
            low, high = of["accuracy_ci95"]
            print(f"accuracy {split:<7} {of['accuracy']:.3f} (95 % interval {low:.3f} to {high:.3f}, n = {of['n']})")
    print(f"report   {config.report.path}")


if __name__ == "__main__":
    job.run("evaluate", evaluate, JOBS)
