"""What each family of features is worth to a trained model: permutation importance, worked out on an executor."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from dermaspark import explanation, featurising, scoring
from dermaspark.dataset import DataFile, Manifest, digest
from dermaspark.randomness import generator
from dermaspark.sparing import spared

ROWS = 4000  # photographs at most: the first of the split, whose order is random


def importance(
    spark: SparkSession, model_url: str, document: dict[str, Any], url: str, manifest: Manifest, split: str
) -> dict[str, dict[str, float]] | None:
    """By family, what `explanation.importance` gives of a split's photographs; None for a model that reads pixels."""
    files = {file.path: file for file in _first(manifest.of(split))}
    if document["reads"] != featurising.COLUMN or not files:
        return None
    spec, version = manifest.preprocessing, digest(document)
    widths = spec[featurising.COLUMN]["widths"]

    def work(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        model = scoring.loaded(model_url, version)
        for batch in batches:
            features, labels = _read(url, [files[path] for path in batch.column("file").to_pylist()], spec)
            random = generator(0, "importance", split)
            found = explanation.importance(lambda rows: np.log(model.score(rows)), features, labels, widths, random)
            yield pa.RecordBatch.from_pydict({"found": [json.dumps(found)]})

    table = spark.createDataFrame([(path,) for path in files], "file string").coalesce(1)
    (row,) = table.mapInArrow(spared(work), "found string").collect()
    result: dict[str, dict[str, float]] = json.loads(row["found"])
    return result


def _first(files: list[DataFile]) -> list[DataFile]:
    """As many of the files as hold ROWS rows."""
    before = np.cumsum([0, *(file.rows for file in files)])[:-1]
    return [file for file, rows in zip(files, before, strict=True) if rows < ROWS]


def _read(url: str, files: list[DataFile], spec: dict[str, Any]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Features and labels of the first ROWS rows of some files."""
    rows = [batch for file in files for batch in scoring.read_rows(url, file, ["label", featurising.COLUMN])]
    features = np.concatenate([scoring.inputs_of(batch, featurising.COLUMN, spec) for batch in rows])
    labels = np.concatenate([batch.column("label").to_numpy() for batch in rows])
    return features[:ROWS], labels[:ROWS]
