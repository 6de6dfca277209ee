"""Confident mistakes: the wrong predictions that a model was surest of, with the pixels that it saw."""

import base64
import io
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from dermaspark import storage
from dermaspark.cleaning import clean
from dermaspark.dataset import read_manifest
from dermaspark.photographs import read_pixels
from dermaspark.sparing import spared
from dermaspark.writing import looked_up

SHOWN = 12
SIDE = 160  # pixels of a picture, the longer side at most
HELD_BACK = "test"  # the split of a fold's dataset whose photographs are out of fold


def find(
    predictions: DataFrame,
    split: str | None,
    right: Mapping[str, Collection[str]],
    datasets: Sequence[str] = (),
    pixels: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """The SHOWN most confident wrong predictions of a split, surest first.

    Args:
        predictions: as contract 7 has them; rows without a score, or with a label that is not in `right`, are none.
        split: whose rows; None finds nothing.
        right: the classes that are right for each label.
        datasets: URLs of the datasets that hold the photographs.
        pixels: the preprocessing by which photographs are read from their files, at their `path`, that none holds.

    Returns:
        of each: id, label, predicted, probability, and picture, a PNG as a data URL, None where there is none.
    """
    if split is None or not right:
        return []
    classes = looked_up({label: list(of) for label, of in right.items()}, F.col("label"))
    wrong = ~F.array_contains(classes, F.col("predicted"))  # null, so no, for a strange label
    rows = predictions.where((F.col("split") == split) & (F.col("status") == "ok") & wrong)
    surest = rows.sort(F.desc("probability"), "id").limit(SHOWN)
    found = [row.asDict() for row in surest.select("id", "label", "predicted", "probability").collect()]
    drawn: dict[str, str] = {}
    for url in datasets:
        missing = [row["id"] for row in found if row["id"] not in drawn]
        drawn |= pictures(predictions.sparkSession, url, HELD_BACK if split == "out_of_fold" else split, missing)
    if found and pixels:
        drawn |= from_files(surest.select("id", "path"), pixels)
    return [row | {"picture": drawn.get(row["id"])} for row in found]


def pictures(spark: SparkSession, url: str, split: str, ids: Collection[str]) -> dict[str, str]:
    """PNGs as data URLs, by id, of those of the photographs that are in a split of a dataset.

    Executors read the ids of every file, and the pixels of the row groups that hold one of `ids` alone.
    """
    manifest = read_manifest(url)
    spec, wanted = manifest.preprocessing, frozenset(ids)
    shape = (spec["height"], spec["width"], spec["channels"])
    files = [(storage.join(url, file.path),) for file in manifest.of(split)] if wanted else []

    def look(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for path in batch.column("file").to_pylist():
                for rows in _rows_of(path, wanted):
                    pixels = [np.frombuffer(image, np.uint8) for image in rows.column("image").to_pylist()]
                    pngs = pa.array([png(one.reshape(shape)) for one in pixels], pa.binary())
                    yield pa.RecordBatch.from_arrays([rows.column("id").combine_chunks(), pngs], names=["id", "png"])

    if not files:
        return {}
    tasks = min(len(files), 4 * spark.sparkContext.defaultParallelism)
    table = spark.createDataFrame(files, "file string").repartition(tasks)
    found = table.mapInArrow(spared(look), "id string, png binary")
    return {row["id"]: _as_url(row["png"]) for row in found.collect()}


def from_files(surest: DataFrame, spec: Mapping[str, Any]) -> dict[str, str]:
    """PNGs as data URLs, by id, of photographs in files (columns id and path), read again as a bundle's `spec` says."""
    found = surest.withColumn("kind", F.lit("photograph"))
    read = read_pixels(found, SHOWN, spec["height"], spec["width"], spec["max_pixels"]).where("status = 'ok'")
    shape = (spec["height"], spec["width"], 3)
    rows = {row["id"]: np.frombuffer(row["image"], np.uint8) for row in read.select("id", "image").collect()}
    return {name: _as_url(png(clean(one.reshape(shape), spec))) for name, one in rows.items()}


def _as_url(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def png(image: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    """A PNG of uint8 (height, width, 3), its longer side SIDE pixels at most."""
    picture = Image.fromarray(image)
    picture.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()


def _rows_of(url: str, wanted: frozenset[str]) -> Iterator[pa.Table]:
    """Columns id and image of the rows that are wanted, a table for each row group that has some."""
    fs, path = storage.locate(url)
    with fs.open(path, "rb") as opened:
        file = pq.ParquetFile(opened)
        for group in range(file.num_row_groups):
            ids = file.read_row_group(group, columns=["id"]).column("id").to_pylist()
            places = [place for place, name in enumerate(ids) if name in wanted]
            if places:
                yield file.read_row_group(group, columns=["id", "image"]).take(pa.array(places))
