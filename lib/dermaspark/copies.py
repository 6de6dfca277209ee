"""Copies among photographs, found in Spark: files and pixels that are the same, and copies in disguise."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from dermaspark.alignment import Likeness, compare
from dermaspark.candidates import CHUNK, meet
from dermaspark.fingerprint import thumbnails_of
from dermaspark.photographs import in_chunks
from dermaspark.sparing import spared

_CONFIRMED = "id_a string, id_b string, pairs long, correlation float, residual float"


@dataclass(frozen=True)
class NearCopies:
    """What the search for near copies found."""

    # id_a < id_b; pairs (of photographs: each stands for all with the same pixels), correlation, residual.
    pairs: DataFrame
    candidates: int  # pairs that were compared pixel by pixel
    crowded: int  # photographs with more than candidates.NEIGHBOURS under a key: not all of them were tried


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

    `candidates.meet` finds the candidates; they are confirmed on their thumbnails (`alignment`). Under each key
    the photographs are laid out by signature and each is compared with the next `candidates.NEIGHBOURS`, so the
    work grows with the number of photographs, however many share a key; where they are more, like ones still
    stand near each other, and it is counted.

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


def confirm(pairs: DataFrame) -> DataFrame:
    """Of pairs laid side by side those that are copies: id_a, id_b, pairs, correlation and residual."""
    return pairs.mapInArrow(spared(_confirm), _CONFIRMED)


def may_be_copies(pairs: DataFrame) -> DataFrame:
    """Of pairs of sketches, laid side by side, those whose thumbnails are worth comparing: id_a and id_b."""

    def keep(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for chunk in in_chunks(batches, CHUNK):
            likely = _compare(chunk).may_be_copy
            yield chunk.select(["id_a", "id_b"]).filter(pa.array(likely))

    return pairs.mapInArrow(spared(keep), "id_a string, id_b string")


def _compare(pairs: pa.RecordBatch) -> Likeness:
    return compare(
        thumbnails_of(pairs.column("thumbnail_a").to_pylist()), thumbnails_of(pairs.column("thumbnail_b").to_pylist())
    )


def _confirm(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Of candidate pairs with their thumbnails, those that are copies: _CONFIRMED."""
    for chunk in in_chunks(batches, CHUNK):
        likeness = _compare(chunk)
        columns = [*(chunk.column(name) for name in ("id_a", "id_b", "pairs"))]
        columns += [pa.array(likeness.correlation), pa.array(likeness.residual)]
        names = ["id_a", "id_b", "pairs", "correlation", "residual"]
        yield pa.RecordBatch.from_arrays(columns, names).filter(pa.array(likeness.is_copy))
