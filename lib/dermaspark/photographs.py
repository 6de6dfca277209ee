"""One pass over the photographs: each file is read once, and what is measured of it stands for it from then on."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from math import ceil
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame

from dermaspark import storage
from dermaspark.fingerprint import THUMBNAIL_SIDE, Fingerprint, fingerprint, hash_bytes
from dermaspark.photo import decode, decode_and_sketch
from dermaspark.photo_file import Unreadable
from dermaspark.sparing import spared

MAX_FILE_BYTES = 2**30  # a larger "photograph" is set aside before it is read
PHOTOGRAPHS_PER_BATCH = 64  # in memory at a time, in each Python worker
PHOTOGRAPHS_PER_TASK = 1000  # at most, or four tasks a slot where that is more

Measure = Callable[[bytes], Mapping[str, Any]]  # of a file's content; raises Unreadable

_ARROW = {"long": pa.int64(), "string": pa.string(), "double": pa.float64(), "binary": pa.binary()}
PIXELS = {"image": "binary"}
_SQL: dict[Any, str] = {int: "long", int | None: "long", str: "string", float: "double", bytes: "binary"}
# What tells whether a photograph may be a copy: its size in pixels, format and mode, and it in small.
SKETCH = {"size": "string", "coding": "string", "byte_hash": "string", "sketch": "binary"}
FINGERPRINT = {field.name: _SQL[field.type] for field in fields(Fingerprint)}


def measure_all(found: DataFrame, total: int, types: Mapping[str, str], measure: Measure) -> DataFrame:
    """`found` with a column `status` ('ok', or why a photograph can't be read) and those that `measure` gives.

    Args:
        found: columns path and kind at least, as `catalog` gives them, without the files of kind 'other'.
        total: about how many rows it has.
        types: the SQL type of each column that `measure` gives; they are null where a photograph can't be read.
    """

    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for chunk in in_chunks(batches):
            names = chunk.select(["path", "kind"]).to_pydict()
            pairs = zip(names["path"], names["kind"], strict=True)
            results = [measure_one(path, kind, measure) for path, kind in pairs]
            columns = [pa.array([row.get(name) for _, row in results], _ARROW[types[name]]) for name in types]
            yield pa.RecordBatch.from_arrays(
                [*chunk.columns, pa.array([status for status, _ in results], pa.string()), *columns],
                names=[*chunk.schema.names, "status", *types],
            )

    slots = found.sparkSession.sparkContext.defaultParallelism
    tasks = min(ceil(total / PHOTOGRAPHS_PER_BATCH), max(4 * slots, ceil(total / PHOTOGRAPHS_PER_TASK)))
    known = [f"{field.name} {field.dataType.simpleString()}" for field in found.schema]
    added = ["status string", *(f"{name} {kind}" for name, kind in types.items())]
    return found.repartition(max(1, tasks), "path").mapInArrow(spared(read), ", ".join([*known, *added]))


def in_chunks(batches: Iterable[pa.RecordBatch], rows: int = PHOTOGRAPHS_PER_BATCH) -> Iterator[pa.RecordBatch]:
    """The same rows, so many at a time, however they come, and the rest at the end.

    A worker has room for what it makes of so few, and what BLAS makes of them is the same, to the last bit.
    """
    waiting: list[pa.RecordBatch] = []
    wanted = rows
    for batch in batches:
        start = 0
        while start < batch.num_rows:
            waiting.append(part := batch.slice(start, wanted))
            start, wanted = start + part.num_rows, wanted - part.num_rows
            if not wanted:
                yield pa.concat_batches(waiting)
                waiting, wanted = [], rows
    if waiting:
        yield pa.concat_batches(waiting)


def column_of(images: list[bytes]) -> pa.Array:
    """A column of binary values, a fifth of the time that pyarrow takes for large ones."""
    offsets = pa.array(np.cumsum([0, *map(len, images)])).cast(pa.int32())  # ArrowInvalid where they are too many bytes
    return pa.Array.from_buffers(pa.binary(), len(images), [None, offsets.buffers()[1], pa.py_buffer(b"".join(images))])


def images_of(column: pa.Array, height: int, width: int) -> NDArray[np.uint8]:
    """uint8 (n, height, width, 3) of a column of `PIXELS`."""
    size = height * width * 3
    fixed = column.cast(pa.binary(size))
    pixels = np.frombuffer(fixed.buffers()[1], np.uint8, len(fixed) * size, fixed.offset * size)
    return pixels.reshape(-1, height, width, 3)


def measure_one(path: str, kind: str, measure: Measure) -> tuple[str, Mapping[str, Any]]:
    """'ok' and what was measured, or why not and nothing."""
    if kind == "misnamed":
        return "the file's name is not UTF-8", {}
    try:
        fs, name = storage.locate(path)
        about = fs.info(name)
        if about["type"] != "file":  # a pipe or a device has no end, a link may lead to one
            return "not a regular file", {}
        if about["size"] > MAX_FILE_BYTES:
            return f"larger than {MAX_FILE_BYTES >> 20} MiB", {}
        return "ok", measure(storage.read_bytes(path))
    except Unreadable as error:
        return error.reason, {}
    except OSError as error:
        return f"no access ({type(error).__name__})", {}


def fingerprint_all(found: DataFrame, total: int, max_pixels: int) -> DataFrame:
    """`found` with a column `status` and the fields of each photograph's Fingerprint."""
    return measure_all(found, total, FINGERPRINT, lambda data: asdict(fingerprint(data, max_pixels)))


def read_pixels(found: DataFrame, total: int, height: int, width: int, max_pixels: int) -> DataFrame:
    """`found` with a column `status` and `image`, uint8 (height, width, 3) as bytes."""

    def measure(data: bytes) -> dict[str, bytes]:
        return {"image": decode(data, height, width, max_pixels).tobytes()}

    return measure_all(found, total, PIXELS, measure)


def read_and_sketch(found: DataFrame, total: int, height: int, width: int, max_pixels: int) -> DataFrame:
    """Pixels of each photograph and the fields of SKETCH, from one reading and one decoding of the file."""

    def measure(data: bytes) -> dict[str, Any]:
        seen = decode_and_sketch(data, height, width, THUMBNAIL_SIDE, max_pixels)
        return {
            "image": seen.pixels.tobytes(),
            "size": f"{seen.width}x{seen.height}",
            "coding": seen.coding,
            "byte_hash": hash_bytes(data),
            "sketch": seen.sketch.tobytes(),
        }

    return measure_all(found, total, {**PIXELS, **SKETCH}, measure)
