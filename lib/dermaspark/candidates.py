"""Candidates for copies: pairs of photographs that stand under one key and whose signatures differ little."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from threadpoolctl import threadpool_limits

from dermaspark.fingerprint import thumbnails_of
from dermaspark.photographs import in_chunks
from dermaspark.signature import file_under_keys
from dermaspark.sparing import spared

MAX_DISTANCE = 5  # bits in which the signatures of a photograph and its copy may differ, of 53
NEIGHBOURS = 64  # rows of one key that a row is compared with
PHOTOGRAPHS_PER_SORT = 2_000  # each under some 50 keys: 8 MB, which a task of Spark sorts in memory
CHUNK = 64  # photographs or pairs at a time: so many that what is made of them stays in a core's cache
_FILED = "number long, key long, signature long, whole boolean"
_MET = "a long, b long"


def meet(photographs: DataFrame) -> DataFrame:
    """Pairs of numbers (a, b) that stand under one key and differ little; (a, null) for a crowded photograph.

    Args:
        photographs: columns number and thumbnail, persisted.
    """
    slots = photographs.sparkSession.sparkContext.defaultParallelism
    tasks = max(slots, ceil(photographs.count() / PHOTOGRAPHS_PER_SORT))
    filed = photographs.select("number", "thumbnail").mapInArrow(spared(_file), _FILED)
    # Two photographs of one number (a chance of 3 in a million among 10 million) would not be compared.
    ordered = filed.repartition(tasks, "key").sortWithinPartitions("key", "signature", "number")
    return ordered.mapInArrow(spared(_meet), _MET).distinct()


def meet_at_once(thumbnails: NDArray[np.uint8], number: NDArray[np.int64]) -> NDArray[np.int64]:
    """The pairs that `meet` finds, of photographs in memory: their indices, int64 (pairs, 2).

    Args:
        thumbnails: uint8 (n, THUMBNAIL_SIDE, THUMBNAIL_SIDE).
        number: int64 (n,), different ones.
    """
    starts = range(0, max(1, len(thumbnails)), CHUNK)
    # numpy lets other threads run; BLAS with threads of its own beside them takes the cores twice the time.
    with threadpool_limits(1), ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        parts = list(threads.map(file_under_keys, [thumbnails[start : start + CHUNK] for start in starts]))
    # A fiftieth of the keys has two photographs: the others' rows need no sorting, nor memory for it.
    keys = np.sort(np.concatenate([part.key for part in parts]))
    shared = np.unique(keys[1:][keys[1:] == keys[:-1]])
    kept = [_in_sorted(shared, part.key) for part in parts]
    filed = np.concatenate(
        [number[start + part.photograph[rows]] for start, part, rows in zip(starts, parts, kept, strict=True)]
    )
    key, signature, whole = (
        np.concatenate([getattr(part, name)[rows] for part, rows in zip(parts, kept, strict=True)])
        for name in ("key", "signature", "whole")
    )
    order = np.lexsort((filed, signature, key))
    pairs = np.stack(_neighbours(filed[order], key[order], signature[order], whole[order], start=0), axis=1)
    by_number = number.argsort()
    found: NDArray[np.int64] = by_number[np.searchsorted(number, pairs, sorter=by_number)]
    return found


def _in_sorted(values: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of `wanted` are among `values`, sorted ones."""
    place = np.searchsorted(values, wanted)
    found: NDArray[np.bool_] = np.append(values, 0)[place] == wanted
    return found & (place < len(values))


def _file(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Each photograph under its keys: _FILED."""
    for chunk in in_chunks(batches, CHUNK):
        filed = file_under_keys(thumbnails_of(chunk.column("thumbnail").to_pylist()))
        number = chunk.column("number").to_numpy()[filed.photograph]
        columns = {"number": number, "key": filed.key, "signature": filed.signature, "whole": filed.whole}
        yield pa.RecordBatch.from_pydict(columns)


def _meet(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Of rows ordered by key, the pairs of photographs that may be copies; (a, null) where a key is crowded."""
    names = ["number", "key", "signature", "whole"]
    tail: list[NDArray[Any]] = [np.empty(0, np.int64)] * 3 + [np.empty(0, bool)]
    for batch in batches:
        new = [batch.column(name).to_numpy(zero_copy_only=False) for name in names]
        rows = [np.concatenate(columns) for columns in zip(tail, new, strict=True)]
        number, key, signature, whole = rows
        a, b = _neighbours(number, key, signature, whole, start=len(tail[0]))
        crowded = np.unique(_crowded(number, key))
        yield pa.RecordBatch.from_pydict(
            {
                "a": np.concatenate([a, crowded]),
                "b": pa.array(np.concatenate([b, crowded]), mask=np.arange(len(a) + len(crowded)) >= len(a)),
            }
        )
        tail = [column[-NEIGHBOURS - 1 :] for column in rows]


def _neighbours(
    number: NDArray[np.int64],
    key: NDArray[np.int64],
    signature: NDArray[np.int64],
    whole: NDArray[np.bool_],
    start: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the pairs, the smaller first, of each row from `start` on with the NEIGHBOURS rows before it."""
    found = [np.empty((2, 0), np.int64)]
    for gap in range(1, min(NEIGHBOURS, len(key) - 1) + 1):
        later = np.arange(max(start, gap), len(key))
        later = later[key[later] == key[later - gap]]
        if not len(later):
            break
        # A crop of one photograph may be the whole of another; two crops may be of anything.
        later = later[whole[later] | whole[later - gap]]
        near = np.bitwise_count(signature[later] ^ signature[later - gap]) <= MAX_DISTANCE
        pair = np.sort(np.stack([number[later[near]], number[(later - gap)[near]]]), axis=0)
        found.append(pair[:, pair[0] < pair[1]])
    pairs = np.unique(np.concatenate(found, axis=1), axis=1)
    return pairs[0], pairs[1]


def _crowded(number: NDArray[np.int64], key: NDArray[np.int64]) -> NDArray[np.int64]:
    many: NDArray[np.bool_] = key[NEIGHBOURS + 1 :] == key[: -NEIGHBOURS - 1]
    return number[NEIGHBOURS + 1 :][many]
