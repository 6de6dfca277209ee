"""Copies among photographs of which only sketches are known: those that may be copies are decoded in full, no other."""

import logging
from functools import reduce

from pyspark import StorageLevel
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from dermaspark.copies import confirm, laid_side_by_side, may_be_copies, meet, star
from dermaspark.photographs import fingerprint_all

log = logging.getLogger("dermaspark")


def link_copies(sketched: DataFrame, near: bool, max_pixels: int) -> DataFrame:
    """Links (id_a, id_b) that join photographs that are copies: one file, the same pixels or, if `near`, near copies.

    What is a copy is decided on all pixels, as in the audit. Two photographs may be copies where their sketches are
    the same or much alike, and where they have one size but two codings, whose sketches may differ by a rounding.

    Args:
        sketched: readable photographs, columns id, path, kind and those of `photographs.SKETCH`, persisted.
        max_pixels: a larger photograph is not decoded.
    """
    of_one_file = star(sketched, "byte_hash")
    first = F.min(F.struct("id", "path", "kind", "size", "coding", F.col("sketch").alias("thumbnail")))
    files = sketched.groupBy("byte_hash").agg(first.alias("first")).select("first.*")
    files = _numbered(files).persist(StorageLevel.DISK_ONLY)
    chosen = [_of_one_sketch(files), _of_two_codings(files)]
    alike = may_be_copies(laid_side_by_side(meet(files), files)).persist(StorageLevel.DISK_ONLY) if near else None
    if alike is not None:
        chosen.append(alike.select(F.explode(F.array("id_a", "id_b")).alias("id")))
    suspects = reduce(DataFrame.union, chosen).distinct().persist(StorageLevel.DISK_ONLY)
    n = suspects.count()
    log.info("decoding %d photographs in full, which may be copies", n)
    if not n:
        return of_one_file
    whole = fingerprint_all(files.join(suspects, "id").select("id", "path", "kind"), n, max_pixels)
    whole = _numbered(whole.where("status = 'ok'")).persist(StorageLevel.DISK_ONLY)
    links = of_one_file.union(star(whole, "pixel_hash"))
    if alike is not None:
        met = alike.select(F.xxhash64("id_a").alias("a"), F.xxhash64("id_b").alias("b"))
        near_copies = confirm(laid_side_by_side(met, whole))
        links = links.union(near_copies.select("id_a", "id_b"))
    return links


def _numbered(photographs: DataFrame) -> DataFrame:
    return photographs.withColumns({"number": F.xxhash64("id"), "n": F.lit(1).cast("long")})


def _of_one_sketch(files: DataFrame) -> DataFrame:
    n = F.count("*").over(Window.partitionBy(F.xxhash64("size", "thumbnail")))
    return files.select("id", n.alias("n")).where("n > 1").select("id")


def _of_two_codings(files: DataFrame) -> DataFrame:
    sizes = files.groupBy("size").agg((F.min("coding") != F.max("coding")).alias("mixed")).where("mixed")
    return files.join(F.broadcast(sizes.select("size")), "size").select("id")
