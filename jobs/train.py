"""A dataset to a bundle: `spark-submit jobs/train.py data.path=dataset model.path=model train.num_processes=2`."""

import sys
from pathlib import Path

from pyspark.sql import SparkSession

JOBS = Path(__file__).resolve().parent
sys.path.insert(0, str(JOBS.parent / "lib"))

from dermaspark import job, run  # noqa: E402 - the library is found by the line above
from dermaspark.config import Config  # noqa: E402


def train(spark: SparkSession, config: Config) -> None:
    result = run.train(spark, config)
    history, kept = result["history"], result["history"][result["kept_epoch"]]
    print(f"model    {config.model.path} (epoch {kept['epoch'] + 1} of {len(history)})")
    print("figures  " + ", ".join(f"{name} {value:.4g}" for name, value in kept.items() if name != "epoch"))


if __name__ == "__main__":
    job.run("train", train, JOBS)
