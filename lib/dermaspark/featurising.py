"""Computed features at the edges: fitted and worked out in Spark, kept in a file in the dataset and the bundle."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark import StorageLevel
from pyspark.sql import DataFrame
from threadpoolctl import threadpool_limits

from dermaspark import storage
from dermaspark.arrays import pack, unpack
from dermaspark.config import Features
from dermaspark.dataset import FEATURISER
from dermaspark.errors import UserError
from dermaspark.features import FeatureSpec, Featuriser, efficientnet, featuriser
from dermaspark.photographs import images_of, in_chunks
from dermaspark.sparing import Task, spared
from dermaspark.writing import quoted

COLUMN = "features"
STRANGENESS = "strangeness"  # above 1: not like the photographs that the features were fitted on
RAW = "raw"  # float32, as bytes: what is measured of a photograph before the axes are fitted

Floats = NDArray[np.float32]


def spec_of(settings: Features, seed: int) -> FeatureSpec:
    """Raises UserError where a family's weights are not installed."""
    check_weights(settings.families)
    return FeatureSpec(
        tuple(settings.families), components=settings.components, photographs=settings.photographs, seed=seed
    )


def check_weights(families: Iterable[str]) -> None:
    """Raises UserError where a family needs weights that this machine does not have."""
    if "efficientnet" in families:
        efficientnet.check()


def measure(rows: DataFrame, spec: FeatureSpec, height: int, width: int) -> tuple[DataFrame, Featuriser]:
    """`rows` with the column `RAW`, kept on disk, and the featuriser that was fitted on training photographs.

    Args:
        rows: columns image (uint8 (height, width, 3) as bytes), split, copy, order and others. Those of lowest `order`
            are fitted on, in that order, so that neither partitions nor executors decide the fit.
    """
    training = rows.where("split = 'train' and copy = 0")
    first = training.orderBy("order", "id").limit(spec.patch_photographs).select("image")
    dictionaries = _in_one_task(
        first, lambda images: featuriser.fit_dictionaries(images_of(images, height, width), spec)
    )

    def describe(images: pa.Array) -> list[pa.Array]:
        raw = [featuriser.describe(image, spec, dictionaries) for image in images_of(images, height, width)]
        return [pa.array([numbers.tobytes() for numbers in raw], pa.binary())]

    known = [f"{quoted(field.name)} {field.dataType.simpleString()}" for field in rows.schema]
    measured = rows.mapInArrow(spared(_adding("image", [RAW], describe)), ", ".join([*known, f"{RAW} binary"]))
    measured = measured.persist(StorageLevel.DISK_ONLY)
    kept = measured.where("split = 'train' and copy = 0").orderBy("order", "id").limit(spec.photographs).select(RAW)
    return measured, _in_one_task(kept, lambda raw: featuriser.fit_blocks(_floats(raw), dictionaries, spec))


def projection(fitted: Featuriser) -> Task[pa.RecordBatch]:
    """A function of batches that `measure` gave, with the columns `COLUMN` and `STRANGENESS` (float32) for `RAW`."""

    def apply(raw: pa.Array) -> list[pa.Array]:
        numbers = _floats(raw)
        return [_as_lists(fitted.project(numbers)), pa.array(fitted.strangeness(numbers))]

    def project(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in _adding(RAW, (COLUMN, STRANGENESS), apply)(batches):
            yield batch.drop_columns(RAW)

    return project


def _as_lists(features: Floats) -> pa.Array:
    """float32 (n, width) as lists."""
    offsets = np.arange(len(features) + 1, dtype=np.int32) * features.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(features.ravel()))


def _adding(source: str, names: Iterable[str], function: Callable[[pa.Array], list[pa.Array]]) -> Task[pa.RecordBatch]:
    """A function of batches that adds columns worked out of another; BLAS has one thread, so sums come in one order."""

    def add(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        with threadpool_limits(1):
            for chunk in in_chunks(batches):
                columns = [*chunk.columns, *function(chunk.column(source))]
                yield pa.RecordBatch.from_arrays(columns, names=[*chunk.schema.names, *names])

    return add


# ---- on disk ----


def save(url: str, fitted: Featuriser) -> dict[str, Any]:
    """Write the file into the folder `url`; what a manifest and a bundle say of it."""
    data = pack(fitted.to_arrays())
    storage.write_bytes(storage.join(url, FEATURISER), data)
    described = {"spec": fitted.spec.to_dict(), "widths": fitted.widths(), "sha256": hashlib.sha256(data).hexdigest()}
    if "efficientnet" in fitted.spec.families:
        described["weights"] = {"package": efficientnet.PACKAGE, "sha256": efficientnet.SHA256}
    return described


def load(url: str, described: dict[str, Any]) -> Featuriser:
    """The featuriser of a dataset's or a bundle's folder. Raises UserError where the file is not the one described."""
    file = storage.join(url, FEATURISER)
    if not storage.exists(file):
        raise UserError(f"{file}: is missing; preprocess and train again")
    data = storage.read_bytes(file)
    if hashlib.sha256(data).hexdigest() != described["sha256"]:
        raise UserError(f"{file}: is not the file that was fitted; preprocess and train again")
    if described.get("weights", {}).get("sha256", efficientnet.SHA256) != efficientnet.SHA256:
        raise UserError(f"{file}: was fitted to the weights of {described['weights']}; this version has others")
    try:
        return Featuriser.from_arrays(FeatureSpec.from_dict(described["spec"]), unpack(data))
    except (KeyError, ValueError) as error:
        raise UserError(f"{file}: not a featuriser of this version ({error}); preprocess and train again") from error


# ---- one task ----


def _in_one_task(column: DataFrame, fit: Callable[[pa.Array], Any]) -> Any:
    """What `fit` makes of a column of a bounded number of rows: worked out by an executor, sent to the driver.

    It travels as an RDD's rows do, between Spark's own processes.
    """

    def run(rows: Iterable[Any]) -> Iterator[Any]:
        with threadpool_limits(1):
            yield fit(pa.array([bytes(row[0]) for row in rows], pa.large_binary()))  # they may be over 2 GiB

    (result,) = column.coalesce(1).rdd.mapPartitions(run).collect()
    return result


def _floats(raw: pa.Array) -> Floats:
    parts = raw.to_pylist()
    return np.frombuffer(b"".join(parts), np.float32).reshape(len(parts), -1)
