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
    best = result["history"][result["best_epoch"]]
    print(f"model    {config.model.path} (the best of {len(result['history'])} epochs, epoch {best['epoch'] + 1})")
    print("figures  " + ", ".join(f"{name} {value:.4g}" for name, value in best.items() if name != "epoch"))


if __name__ == "__main__":
    job.run("train", train, JOBS)
