"""Copies among photographs, found in Spark: files and pixels that are the same, and copies in disguise."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark import StorageLevel
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F
from threadpoolctl import threadpool_limits

from dermaspark.alignment import Likeness, compare
from dermaspark.fingerprint import THUMBNAIL_SIDE
from dermaspark.signature import file_under_keys
from dermaspark.sparing import spared

MAX_DISTANCE = 5  # bits in which the signatures of a photograph and its copy may differ, of 53
NEIGHBOURS = 64  # rows of one key that a row is compared with
PHOTOGRAPHS_PER_SORT = 2_000  # each under some 50 keys: 8 MB, which a task of Spark sorts in memory
CHUNK = 64  # photographs or pairs at a time: so many that what is made of them stays in a core's cache


@dataclass(frozen=True)
class NearCopies:
    """What the search for near copies found."""

    # id_a < id_b; pairs (of photographs: each stands for all with the same pixels), correlation, residual.
    pairs: DataFrame
    candidates: int  # pairs that were compared pixel by pixel
    crowded: int  # photographs with more than NEIGHBOURS neighbours under a key: not all of them were tried


def same_pixels(photographs: DataFrame) -> DataFrame:
    """Pairs (id_a, id_b, kind): each photograph with the first, by id, that has the same pixels.

    `kind` is 'bytes' where the files are the same too, else 'pixels'.
    """
    first = F.min(F.struct("id", "byte_hash")).over(Window.partitionBy("pixel_hash"))
    pairs = photographs.select("id", "byte_hash", first.alias("first")).where("first.id < id")
    kind = F.expr("if(first.byte_hash = byte_hash, 'bytes', 'pixels')")
    return pairs.select(F.col("first.id").alias("id_a"), F.col("id").alias("id_b"), kind.alias("kind"))


def count_pairs(photographs: DataFrame, *columns: str) -> int:
    """Pairs of photographs with equal `columns`, from the sizes of the sets alone."""
    sizes = photographs.dropna(subset=list(columns)).groupBy(*columns).count()
    [row] = sizes.agg(F.expr("sum(count * (count - 1) div 2)")).collect()
    return int(row[0] or 0)


def near_copies(photographs: DataFrame) -> NearCopies:
    """Pairs of photographs that are copies of one another, but for their size, turn, edges, colour or quality.

    Candidates are pairs that stand under one key (`signature`) and whose signatures differ little; they are
    confirmed on their thumbnails (`alignment`). Under each key the photographs are laid out by signature and
    each is compared with the next NEIGHBOURS, so the work grows with the number of photographs, however many
    share a key; where they are more, like ones still stand near each other, and it is counted.

    Args:
        photographs: columns id, pixel_hash, thumbnail.
    """
    same_pixels = photographs.groupBy("pixel_hash")
    distinct = same_pixels.agg(F.min(F.struct("id", "thumbnail")).alias("one"), F.count("*").alias("n"))
    distinct = distinct.select("one.*", "n", F.xxhash64("one.id").alias("number"))
    distinct = distinct.persist(StorageLevel.DISK_ONLY)
    met = meet(distinct).persist(StorageLevel.DISK_ONLY)
    [counted] = met.agg(F.count("b"), F.countDistinct(F.expr("if(b is null, a, null)"))).collect()
    confirmed = confirm(laid_side_by_side(met, distinct))
    confirmed = confirmed.persist(StorageLevel.DISK_ONLY)
    confirmed.count()
    met.unpersist()
    distinct.unpersist()
    return NearCopies(confirmed, candidates=counted[0], crowded=counted[1])


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


def laid_side_by_side(met: DataFrame, photographs: DataFrame) -> DataFrame:
    """The pairs of `met` as columns id_a < id_b, pairs (of photographs), thumbnail_a and thumbnail_b.

    Args:
        met: what `meet` gave.
        photographs: columns number, id, thumbnail and n, for how many photographs each stands.
    """
    names = ("number", "id", "thumbnail", "n")
    # Up to 10 MB of them Spark would send to every executor, where they take 130 MiB.
    photographs = photographs.hint("merge")
    a, b = (photographs.select([F.col(name).alias(f"{name}_{side}") for name in names]) for side in "ab")
    pairs = met.join(a, met["a"] == a["number_a"]).join(b, met["b"] == b["number_b"])
    return pairs.select(
        F.least("id_a", "id_b").alias("id_a"),
        F.greatest("id_a", "id_b").alias("id_b"),
        F.expr("n_a * n_b").alias("pairs"),
        F.expr("if(id_a < id_b, thumbnail_a, thumbnail_b)").alias("thumbnail_a"),
        F.expr("if(id_a < id_b, thumbnail_b, thumbnail_a)").alias("thumbnail_b"),
    )


_FILED = "number long, key long, signature long, whole boolean"
_MET = "a long, b long"
_CONFIRMED = "id_a string, id_b string, pairs long, correlation float, residual float"


def _file(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Each photograph under its keys: _FILED."""
    for chunk in _chunks(batches):
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


def confirm(pairs: DataFrame) -> DataFrame:
    """Of pairs laid side by side those that are copies: id_a, id_b, pairs, correlation and residual."""
    return pairs.mapInArrow(spared(_confirm), _CONFIRMED)


def may_be_copies(pairs: DataFrame) -> DataFrame:
    """Of pairs of sketches, laid side by side, those whose thumbnails are worth comparing: id_a and id_b."""

    def keep(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for chunk in _chunks(batches):
            likely = _compare(chunk).may_be_copy
            yield chunk.select(["id_a", "id_b"]).filter(pa.array(likely))

    return pairs.mapInArrow(spared(keep), "id_a string, id_b string")


def _compare(pairs: pa.RecordBatch) -> Likeness:
    return compare(
        thumbnails_of(pairs.column("thumbnail_a").to_pylist()), thumbnails_of(pairs.column("thumbnail_b").to_pylist())
    )


def _confirm(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Of candidate pairs with their thumbnails, those that are copies: _CONFIRMED."""
    for chunk in _chunks(batches):
        likeness = _compare(chunk)
        columns = [*(chunk.column(name) for name in ("id_a", "id_b", "pairs"))]
        columns += [pa.array(likeness.correlation), pa.array(likeness.residual)]
        names = ["id_a", "id_b", "pairs", "correlation", "residual"]
        yield pa.RecordBatch.from_arrays(columns, names).filter(pa.array(likeness.is_copy))


def _chunks(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for start in range(0, batch.num_rows, CHUNK):
            yield batch.slice(start, CHUNK)


def thumbnails_of(values: Iterable[bytes]) -> NDArray[np.uint8]:
    """uint8 (n, THUMBNAIL_SIDE, THUMBNAIL_SIDE) of the values of a binary column."""
    return np.frombuffer(b"".join(values), np.uint8).reshape(-1, THUMBNAIL_SIDE, THUMBNAIL_SIDE)
