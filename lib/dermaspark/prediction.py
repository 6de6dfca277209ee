"""From a bundle and new photographs to a table of predictions."""

import logging
import posixpath
from collections.abc import Iterable, Iterator

import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from dermaspark import bundle, scoring, storage
from dermaspark.catalog import file_rows
from dermaspark.config import Config
from dermaspark.errors import UserError
from dermaspark.featurising import COLUMN
from dermaspark.sparing import spared

log = logging.getLogger("dermaspark")

DEFAULT_OUTPUT = "runs/predictions"
SUCCESS = "_SUCCESS"  # Spark writes it last
ENTRIES = (SUCCESS, "part-*", "_temporary", "._SUCCESS.crc", ".part-*")
SCHEMA = "id string, path string, image_id string, kind string"


def predict(spark: SparkSession, config: Config) -> DataFrame:
    """Score the photographs of a file, a folder or a glob, and write one row for each.

    Raises:
        UserError: no bundle, no photograph, or more unreadable ones than input.max_bad_fraction.
    """
    model_url, url = storage.resolve(config.model.path), storage.resolve(config.output.path or DEFAULT_OUTPUT)
    document = bundle.read_document(model_url)
    bundle.check(model_url, document)
    roots = find_roots(config.input.path)
    output = (url, SUCCESS, "output.path", config.overwrite, ENTRIES)
    storage.reserve(*output)
    found = list_files(spark, roots).persist()
    total = found.count()
    if not total:
        raise UserError(f"input.path={config.input.path}: no photograph there (jpg, jpeg, png, bmp, tif, webp)")
    storage.claim(*output)
    log.info("scoring %d photographs", total)
    if config.model.gate and document["reads"] != COLUMN:
        log.warning("the model reads pixels: it can't tell what is not like its photographs, and refuses nothing")
    scored = scoring.score_photographs(model_url, document, found, total)
    (scoring.refuse(scored) if config.model.gate else scored).write.mode("append").parquet(url)
    predictions = spark.read.parquet(storage.literal(url))
    if refused := predictions.where(F.col("status") == scoring.REFUSED).count():
        log.warning("refused %d of %d photographs: not like those that the model was trained on", refused, total)
    bad = predictions.where(~F.col("status").isin("ok", scoring.REFUSED))
    n = bad.count()
    if first := bad.sort("id").first():
        message = f"{n} of {total} photographs were not scored, e.g. {first['path']}: {first['status']}"
        log.warning(message)
        if n > config.input.max_bad_fraction * total:
            raise UserError(f"{message} (the others are in {url})")
    return predictions


def find_roots(path: object) -> list[str]:
    """Full URLs of the files and folders that `input.path` names: itself if it is there, else a glob."""
    urls = []
    for one in path if isinstance(path, list) else [path]:
        url = storage.resolve(str(one))
        fs, name = storage.locate(url)
        above = url[: -len(name)] if url.endswith(name) else url.partition("://")[0] + "://"
        # A name is taken as it stands before it is taken for a glob: photographs may have brackets in theirs.
        matches = [url]
        if not fs.exists(name):
            matches = [f"{above}{match}" for match in sorted(fs.glob(name)) if not _hidden(match, name)]
        if not matches:
            raise UserError(f"input.path={one}: no such file or folder, and nothing matches it")
        urls += matches
    return urls


def _hidden(match: str, pattern: str) -> bool:
    """Whether a match has a hidden part that the pattern does not name: wildcards pass over it, as in a shell."""
    named = pattern.split("/")
    return any(part.startswith(".") and part not in named for part in match.split("/"))


def list_files(spark: SparkSession, roots: list[str]) -> DataFrame:
    """Every photograph at or below the roots; `id` is its full URL."""
    tasks = min(len(roots), 4 * spark.sparkContext.defaultParallelism)
    table = spark.createDataFrame([(root,) for root in roots], "root string").repartition(tasks)

    def list_roots(batches: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            for root in batch["root"]:
                yield from file_rows(root, lambda path: {"id": path, "path": path, "image_id": _stem(path)})

    return table.mapInPandas(spared(list_roots), SCHEMA).where("kind != 'other'").dropDuplicates(["id"])


def _stem(path: str) -> str:
    return posixpath.splitext(posixpath.basename(path))[0]
