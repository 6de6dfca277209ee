"""The outside test: a bundle on photographs that no dataset holds, in folders that need not be named as its classes."""

import csv
import io
import logging
from collections.abc import Sequence
from typing import Any

from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from dermaspark import bundle, catalog, provenance, scoring, storage
from dermaspark.config import Config, Input
from dermaspark.errors import UserError
from dermaspark.evaluation import ENTRIES, METRICS, PREDICTIONS, check_counts, given_prior, report_on
from dermaspark.groups import with_columns
from dermaspark.preparation import read_groups

log = logging.getLogger("dermaspark")

OUTSIDE = "outside"
COLUMNS = ["folder", "class"]  # of the table of labels


def asked_for(config: Config, arguments: Sequence[str]) -> bool:
    """Whether the job is to score folders rather than a dataset: with labels.map, or input.path on the command line.

    `input.path` in a file alone does not ask for it: there it may name what a model is trained on.
    Raises UserError where labels.map comes without photographs.
    """
    named = any(argument.startswith("input.path=") for argument in arguments)
    if config.labels.map and not named and config.input.path == Input().path:
        raise UserError(
            f"labels.map={config.labels.map}: is about the folders of input.path; name input.path=FOLDER too"
        )
    return named or config.labels.map is not None


def evaluate(spark: SparkSession, config: Config) -> dict[str, Any]:
    """Score the photographs of `input.path`, write the report's folder and return what metrics.json holds.

    Raises:
        UserError: no bundle, no photographs, a table of labels that does not fit both, too many photographs that
            can't be read.
    """
    model_url, url = storage.resolve(config.model.path), storage.resolve(config.report.path)
    document = bundle.read_document(model_url)
    bundle.check(model_url, document)
    classes: list[str] = document["classes"]
    given_prior(config.report, classes)
    sources = catalog.sources(config.input.path)
    folders = catalog.class_folders(sources)
    labels = read_labels(config.labels.map, sorted({folder.class_name for folder in folders}), classes)
    table = read_groups(spark, config.input.groups)
    output = (url, METRICS, "report.path", config.overwrite, ENTRIES)
    storage.reserve(*output)

    # ---- find and score ----
    found = catalog.find(spark, folders).where("kind != 'other'").persist(StorageLevel.DISK_ONLY)
    total = found.count()
    if not total:
        raise UserError(f"input.path={config.input.path}: no photograph there (jpg, jpeg, png, bmp, tif, webp)")
    storage.claim(*output)
    log.info("outside test: %d photographs in %d folders, which no dataset holds", total, len(labels))
    photographs = found.select("id", "path", "image_id", "kind", "source", F.col("class_name").alias("label"))
    scored = scoring.score_photographs(model_url, document, photographs, total)
    joined, columns = with_groups(scored.withColumn("split", F.lit(OUTSIDE)), table)
    joined.write.parquet(storage.join(url, PREDICTIONS))
    predictions = spark.read.parquet(storage.literal(storage.join(url, PREDICTIONS)))
    check_counts(predictions, total, storage.join(url, PREDICTIONS))
    unreadable = check_readable(predictions, total, config.input.max_bad_fraction)

    # ---- count and report ----
    return report_on(
        predictions,
        url,
        config.report,
        classes=classes,
        class_counts=document["class_counts"],
        columns=columns,
        dataset={
            "counts": {"found": total, OUTSIDE: total - unreadable, "unreadable": unreadable},
            "sources": sources,
        },
        model={"path": model_url, **document["training"]},
        protocol={
            "description": "photographs that are in no dataset, by folder",
            "labels": labels,
            "lesions": "not known" if table is None else provenance.TABLE,
        },
        history=document["history"],
        labels=labels,
        thresholds=document["thresholds"],
        pixels=document["preprocessing"],
    )


def read_labels(path: str | None, folders: Sequence[str], classes: Sequence[str]) -> dict[str, list[str]]:
    """The classes that are right for each folder, from the CSV at `path`; without one, the class of its name.

    Raises:
        UserError: a file that is not there or has other columns, a class that the model lacks, a folder that is in
            no line.
    """
    if path is None:
        if strange := [name for name in folders if name not in classes]:
            raise UserError(
                f"input.path: the folder {strange[0]} is named as no class of the model ({', '.join(classes)}); "
                "say with labels.map=FILE.csv (folder,class) which classes are right for it"
            )
        return {name: [name] for name in folders}
    pairs = _read_pairs(path)
    if unknown := sorted({name for _, name in pairs} - set(classes)):
        raise UserError(f"labels.map={path}: no class of the model: {', '.join(unknown)}; it has {', '.join(classes)}")
    if missing := [name for name in folders if name not in {folder for folder, _ in pairs}]:
        raise UserError(f"labels.map={path}: has no line for the folders {', '.join(missing)}")
    return {folder: [name for name in classes if (folder, name) in pairs] for folder in folders}


def _read_pairs(path: str) -> set[tuple[str, str]]:
    url = storage.resolve(path)
    if not storage.exists(url):
        raise UserError(f"labels.map={path}: no such file")
    try:
        text = storage.read_bytes(url).decode("utf-8-sig")
        rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text), strict=True) if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"labels.map={path}: can't be read as a CSV in UTF-8 ({error})") from error
    if not rows or rows[0] != COLUMNS:
        raise UserError(f"labels.map={path}: its first line has to be {','.join(COLUMNS)}")
    if wrong := next((row for row in rows[1:] if len(row) != 2 or not all(row)), None):
        raise UserError(f"labels.map={path}: the line {','.join(wrong)!r} is not a folder and a class")
    return {(folder, name) for folder, name in rows[1:]}


def with_groups(scored: DataFrame, table: DataFrame | None) -> tuple[DataFrame, list[str]]:
    """The rows with the groups table's columns, and the names of those to count by; each its own group without it."""
    if table is None:
        return scored.withColumn("group", F.col("id")), []
    named = scored.join(table.select("image_id", "group"), "image_id", "left")
    return with_columns(named.withColumn("group", F.coalesce("group", "id")), table)


def check_readable(predictions: DataFrame, total: int, max_bad_fraction: float) -> int:
    """How many photographs were not scored; UserError where they are more than this share."""
    bad = predictions.where("status != 'ok'")
    n = bad.count()
    if first := bad.sort("id").first():
        message = f"{n} of {total} photographs were not scored, e.g. {first['path']}: {first['status']}"
        log.warning(message)
        if n > max_bad_fraction * total:
            raise UserError(f"{message}; more than input.max_bad_fraction={max_bad_fraction}")
    return n
