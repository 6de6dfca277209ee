"""From a dataset and a bundle to predictions, figures and a report."""

import logging
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from dermaspark import bundle, metrics, report, scoring, storage
from dermaspark.config import Config
from dermaspark.dataset import Manifest, read_manifest
from dermaspark.errors import UserError
from dermaspark.tally import tally

log = logging.getLogger("dermaspark")

METRICS = "metrics.json"  # written last
PAGE = "report.html"
PREDICTIONS = "predictions"
ENTRIES = (METRICS, PAGE, PREDICTIONS)


def evaluate(spark: SparkSession, config: Config) -> dict[str, Any]:
    """Score every photograph of a dataset, write the report's folder and return what metrics.json holds.

    Raises:
        UserError: no dataset, no bundle, or two that do not belong together.
    """
    data_url, model_url = storage.resolve(config.data.path), storage.resolve(config.model.path)
    report_url = storage.resolve(config.report.path)
    manifest, document = read_manifest(data_url), bundle.read_document(model_url)
    check_match(data_url, manifest, model_url, document)
    storage.claim(report_url, METRICS, "report.path", config.overwrite, ENTRIES)

    # ---- score ----
    predictions_url = storage.join(report_url, PREDICTIONS)
    scored = scoring.score_dataset(spark, model_url, document["classes"], data_url, manifest)
    scored.write.parquet(predictions_url)
    predictions = spark.read.parquet(predictions_url)
    check_counts(predictions, manifest, predictions_url)

    # ---- count and report ----
    prior = [document["class_counts"].get(name, 0) for name in document["classes"]]
    by = ["source", *manifest.columns]
    sums = tally(predictions, document["classes"], by, [n / sum(prior) for n in prior])
    figures = metrics.document(
        sums,
        dataset={"path": data_url, "id": manifest.id, "counts": manifest.counts, "sources": manifest.sources},
        model={"path": model_url, **document["training"]},
        protocol=manifest.protocol,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    page = report.page(figures, sums.curves, document["history"])
    storage.write_bytes(storage.join(report_url, PAGE), page.encode())
    storage.write_json(storage.join(report_url, METRICS), figures)
    return figures


def check_match(data_url: str, manifest: Manifest, model_url: str, document: dict[str, Any]) -> None:
    if manifest.classes != document["classes"]:
        raise UserError(
            f"{model_url}: a model of the classes {', '.join(document['classes'])}; "
            f"the dataset {data_url} has {', '.join(manifest.classes)}"
        )
    for key, value in document["preprocessing"].items():
        if manifest.preprocessing.get(key) != value:
            raise UserError(
                f"{model_url}: was trained on photographs with {key}={value}; the dataset {data_url} has "
                f"{manifest.preprocessing.get(key)}: preprocess again with the model's settings"
            )


def check_counts(predictions: DataFrame, manifest: Manifest, url: str) -> None:
    """Rows in = rows out: every photograph that was found and not left out has one row."""
    expected = manifest.counts["found"] - manifest.counts["left_out"]
    n, ids = predictions.count(), predictions.select("id").distinct().count()
    if not n == ids == expected:
        raise RuntimeError(f"{url}: {n} rows of {ids} photographs where {expected} were expected")
