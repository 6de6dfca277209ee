"""Copies among photographs of which only sketches are known: those that may be copies are decoded in full, no other."""

import logging
from functools import reduce

from pyspark import StorageLevel
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from dermaspark.candidates import meet
from dermaspark.copies import confirm, laid_side_by_side, may_be_copies
from dermaspark.groups import cut, star
from dermaspark.photographs import fingerprint_all

log = logging.getLogger("dermaspark")

DECODING = "decoding %d photographs in full, which may be copies"


def link_copies(sketched: DataFrame, near: bool, max_pixels: int) -> DataFrame:
    """Links (id_a, id_b) that join photographs that are copies: one file, the same pixels or, if `near`, near copies.

    What is a copy is decided on all pixels, as in the audit. Two photographs may be copies where their sketches are
    the same or much alike, and where they have one size but two codings, whose sketches may differ by a rounding.

    Args:
        sketched: readable photographs, columns id, path, kind and those of `photographs.SKETCH`, persisted.
        max_pixels: a larger photograph is not decoded.
    """
    first = F.min(F.struct("id", "path", "kind", "size", "coding", F.col("sketch").alias("thumbnail")))
    files = _numbered(sketched.groupBy("byte_hash").agg(first.alias("first")).select("first.*"))
    kept = [files.persist(StorageLevel.DISK_ONLY)]
    chosen = [_of_one_sketch(files), _of_two_codings(files)]
    if near:
        kept.append(alike := may_be_copies(laid_side_by_side(meet(files), files)).persist(StorageLevel.DISK_ONLY))
        chosen.append(alike.select(F.explode(F.array("id_a", "id_b")).alias("id")))
    kept.append(suspects := reduce(DataFrame.union, chosen).distinct().persist(StorageLevel.DISK_ONLY))
    n = suspects.count()
    log.info(DECODING, n)
    links = star(sketched, "byte_hash")
    if n:
        whole = fingerprint_all(files.join(suspects, "id").select("id", "path", "kind"), n, max_pixels)
        kept.append(whole := _numbered(whole.where("status = 'ok'")).persist(StorageLevel.DISK_ONLY))
        links = links.union(star(whole, "pixel_hash"))
        if near:
            met = alike.select(F.xxhash64("id_a").alias("a"), F.xxhash64("id_b").alias("b"))
            links = links.union(confirm(laid_side_by_side(met, whole)).select("id_a", "id_b"))
    links = cut(links)
    for each in kept:
        each.unpersist()
    return links


def _numbered(photographs: DataFrame) -> DataFrame:
    return photographs.withColumns({"number": F.xxhash64("id"), "n": F.lit(1).cast("long")})


def _of_one_sketch(files: DataFrame) -> DataFrame:
    n = F.count("*").over(Window.partitionBy(F.xxhash64("size", "thumbnail")))
    return files.select("id", n.alias("n")).where("n > 1").select("id")


def _of_two_codings(files: DataFrame) -> DataFrame:
    sizes = files.groupBy("size").agg((F.min("coding") != F.max("coding")).alias("mixed")).where("mixed")
    return files.join(F.broadcast(sizes.select("size")), "size").select("id")
