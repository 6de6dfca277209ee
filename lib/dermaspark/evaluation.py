"""From a dataset and a bundle to predictions, figures and a report."""

import logging
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from dermaspark import bundle, featurising, metrics, mistakes, permutation, report, scoring, storage
from dermaspark.config import Config, Report
from dermaspark.dataset import Manifest, read_manifest
from dermaspark.errors import UserError
from dermaspark.labels import LabelMap
from dermaspark.summary import headline_split
from dermaspark.tally import tally

log = logging.getLogger("dermaspark")

METRICS = "metrics.json"  # written last
PAGE = "report.html"
PREDICTIONS = "predictions"
ENTRIES = (METRICS, PAGE, PREDICTIONS)
HELD_BACK = ("val", "test")


def evaluate(spark: SparkSession, config: Config) -> dict[str, Any]:
    """Score every photograph of a dataset, write the report's folder and return what metrics.json holds.

    Raises:
        UserError: no dataset, no bundle, or two that do not belong together.
    """
    data_url, model_url = storage.resolve(config.data.path), storage.resolve(config.model.path)
    report_url = storage.resolve(config.report.path)
    manifest, document = read_manifest(data_url), bundle.read_document(model_url)
    check_match(data_url, manifest, model_url, document)
    given_prior(config.report, document["classes"])
    storage.claim(report_url, METRICS, "report.path", config.overwrite, ENTRIES)

    # ---- score ----
    predictions_url = storage.join(report_url, PREDICTIONS)
    scoring.score_dataset(spark, model_url, document, data_url, manifest, predictions_url)
    predictions = spark.read.parquet(storage.literal(predictions_url))
    if manifest.counts["unreadable"]:
        scoring.unscored(data_url, predictions).write.mode("append").parquet(predictions_url)
        predictions = spark.read.parquet(storage.literal(predictions_url))
    check_counts(predictions, manifest.counts["found"] - manifest.counts["left_out"], predictions_url)

    # ---- count and report ----
    return report_on(
        predictions,
        report_url,
        config.report,
        classes=document["classes"],
        class_counts=document["class_counts"],
        columns=manifest.columns,
        dataset={"path": data_url, "id": manifest.id, "counts": manifest.counts, "sources": manifest.sources},
        model={"path": model_url, **document["training"]},
        protocol=manifest.protocol,
        history=document["history"],
        thresholds=document["thresholds"],
        datasets=[data_url],
        importance={
            split: permutation.importance(spark, model_url, document, data_url, manifest, split) for split in HELD_BACK
        },
    )


def report_on(
    predictions: DataFrame,
    url: str,
    settings: Report,
    *,
    classes: list[str],
    class_counts: dict[str, int],
    columns: list[str],
    dataset: dict[str, Any],
    model: dict[str, Any],
    protocol: dict[str, Any],
    history: list[dict[str, float]],
    labels: dict[str, list[str]] | None = None,
    thresholds: dict[str, list[float]] | None = None,
    datasets: list[str] | None = None,
    pixels: dict[str, Any] | None = None,
    importance: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Count the predictions, write the page and, last, metrics.json; return what it holds.

    Args:
        class_counts: of the training photographs, which are the prior of the figures.
        columns: of the groups table, by whose values there are figures too.
        labels: the classes that are right for each label of the photographs, where labels are not the classes.
        thresholds: of confidence, as the bundle keeps them; None fits one on the predictions.
        datasets: URLs of those that hold the photographs, to picture mistakes.
        pixels: how to read them from their files, where no dataset holds them: the bundle's preprocessing.
        importance: by split, of each family of features; None where there is none.
    """
    prior = [class_counts.get(name, 0) for name in classes]
    sums = tally(
        predictions,
        classes,
        ["source", *columns],
        [n / sum(prior) for n in prior],
        given=given_prior(settings, classes),
        label_map=LabelMap.of_sets(labels or {name: [name] for name in classes}, classes, settings.malignant),
    )
    created = datetime.now(UTC).isoformat(timespec="seconds")
    about: dict[str, Any] = {"dataset": dataset, "model": model, "protocol": protocol, "created": created}
    figures = metrics.document(sums, **about, wanted_risk=settings.risk, thresholds=thresholds)
    for split, refused in count_refused(predictions).items():
        figures["splits"][split]["refused"] = refused
    for split, lost in (importance or {}).items():
        if lost:
            figures["splits"][split]["importance"] = lost
    right = labels or {name: [name] for name in classes}
    wrong = mistakes.find(predictions, headline_split(figures), right, datasets or [], pixels)
    page = report.page(figures, sums.curves, history, wrong)
    storage.write_bytes(storage.join(url, PAGE), page.encode())
    storage.write_json(storage.join(url, METRICS), figures)
    return figures


def count_refused(predictions: DataFrame) -> dict[str, dict[str, Any]]:
    """By split, how many of the scored photographs `predict` would refuse; nothing for a model that can't tell."""
    strange = predictions.where("status = 'ok' and strangeness is not null").groupBy("split")
    rows = strange.agg(F.count_if(F.col("strangeness") > 1).alias("refused"), F.count("*").alias("n")).collect()
    return {row["split"]: {"n": row["refused"], "share": row["refused"] / row["n"]} for row in rows}


def given_prior(settings: Report, classes: list[str]) -> list[float] | None:
    """The shares of `report.prior` in the order of the classes; None without it. UserError where it names others."""
    if settings.prior is None:
        return None
    if set(settings.prior) != set(classes):
        raise UserError(
            f"report.prior: names {', '.join(sorted(settings.prior))}; it has to name each class of the model: "
            f"{', '.join(classes)}"
        )
    return [settings.prior[name] for name in classes]


def check_match(data_url: str, manifest: Manifest, model_url: str, document: dict[str, Any]) -> None:
    if manifest.classes != document["classes"]:
        raise UserError(
            f"{model_url}: a model of the classes {', '.join(document['classes'])}; "
            f"the dataset {data_url} has {', '.join(manifest.classes)}"
        )
    for key, value in document["preprocessing"].items():
        if key == featurising.COLUMN and document["reads"] != key:
            continue  # the model reads pixels
        if manifest.preprocessing.get(key) != value and key == featurising.COLUMN:
            raise UserError(
                f"{model_url}: reads features that were fitted on other photographs than those of the dataset "
                f"{data_url}: evaluate it on its own dataset, or these photographs by input.path"
            )
        if manifest.preprocessing.get(key) != value:
            raise UserError(
                f"{model_url}: was trained on photographs with {key}={value}; the dataset {data_url} has "
                f"{manifest.preprocessing.get(key)}: preprocess again with the model's settings"
            )


def check_counts(predictions: DataFrame, expected: int, url: str) -> None:
    """Rows in = rows out: one row for each photograph that there should be one for."""
    n, ids = predictions.count(), predictions.select("id").distinct().count()
    if not n == ids == expected:
        raise RuntimeError(f"{url}: {n} rows of {ids} photographs where {expected} were expected")
