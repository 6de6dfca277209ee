"""New photographs through a bundle: `spark-submit jobs/predict.py model.path=... input.path=photo.jpg`."""

import sys
from pathlib import Path

from pyspark.sql import SparkSession

JOBS = Path(__file__).resolve().parent
sys.path.insert(0, str(JOBS.parent / "lib"))

from dermaspark import job, prediction  # noqa: E402 - the library is found by the line above
from dermaspark.config import Config  # noqa: E402

SHORT = 20  # rows; a longer table is not printed


def predict(spark: SparkSession, config: Config) -> None:
    predictions = prediction.predict(spark, config)
    rows = predictions.select("path", "predicted", "probability", "status").sort("path").head(SHORT + 1)
    if len(rows) <= SHORT:
        for row in rows:
            answer = f"{row['predicted']} ({row['probability']:.3f})" if row["status"] == "ok" else row["status"]
            print(f"{row['path']}  {answer}")
    print(f"predictions  {config.output.path or prediction.DEFAULT_OUTPUT}")


if __name__ == "__main__":
    job.run("predict", predict, JOBS)
