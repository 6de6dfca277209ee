"""The audit: what is wrong with a set of photographs, and what a network could cheat with."""

import logging
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from dermaspark import audit_page, storage
from dermaspark.canary import FEATURES, balanced_accuracy_of_source, canary, cramers_v
from dermaspark.copies import NearCopies, count_pairs, near_copies, same_pixels
from dermaspark.facts import OTHER, class_facts, reasons
from dermaspark.groups import components, links_of_table, with_columns

log = logging.getLogger("dermaspark")

DOCUMENT = "audit.json"  # written last: without it the folder is not an audit
PAGE = "audit.html"
TABLES = ("pairs", "groups", "conflicts", "leaks", "unreadable")
ENTRIES = (*TABLES, DOCUMENT, PAGE)
CANARY_SAMPLE = 20_000  # photographs, shared out among the classes
MAX_SOURCES = 1_000  # the rest count as one


@dataclass(frozen=True)
class Linked:
    """Photographs and what joins them."""

    pairs: DataFrame  # id_a, id_b, kind ('bytes', 'pixels' or 'near'), correlation, residual (null unless near)
    groups: DataFrame  # id and group, a row for each photograph
    near: NearCopies | None


@dataclass(frozen=True)
class Audit:
    """What was found: bounded figures here, and tables, of any size, that are computed when they are written."""

    figures: dict[str, Any]  # audit.json
    tables: dict[str, DataFrame]  # TABLES
    sample: DataFrame  # class_name, rank (from 1, in a random order), id, path: CANARY_SAMPLE at most


def link(photographs: DataFrame, table: DataFrame | None, near: bool) -> Linked:
    """Groups of photographs that are copies, or in one group of `table`, in any number of steps.

    A set of n photographs with the same pixels is n - 1 pairs, each with the first of them.

    Args:
        photographs: readable ones, columns id, image_id, byte_hash, pixel_hash and thumbnail, persisted.
        table: `groups.read_table`'s, joined by image_id.
        near: whether near copies are looked for.
    """
    found = near_copies(photographs) if near else None
    pairs = same_pixels(photographs)
    if found:
        log.info("near copies: compared %d candidate pairs", found.candidates)
        alike = found.pairs.withColumn("kind", F.lit("near")).drop("pairs")
        pairs = pairs.unionByName(alike, allowMissingColumns=True)
    else:
        pairs = pairs.withColumns({name: F.lit(None).cast("float") for name in ("correlation", "residual")})
    links = pairs.select("id_a", "id_b")
    if table is not None:
        links = links.union(links_of_table(photographs, table))
    groups = components(links, photographs).persist(StorageLevel.DISK_ONLY)
    return Linked(pairs, groups, found)


def audit(photographs: DataFrame, table: DataFrame | None, near: bool, seed: int = 0) -> Audit:
    """Everything that the audit knows of `photographs`, which `photographs.fingerprint_all` made; persist it.

    counts: `photographs` are all that were found, `unreadable` among them; everything else is of the readable
    ones. `exact_copy_pairs` and `pixel_copy_pairs` are all pairs with the same bytes and the same decoded
    pixels, the first included in the second, and `near_copy_pairs` are pairs beyond these. `crowded` counts
    photographs with so many neighbours in the search for near copies that not all of them were tried.
    """
    readable = photographs.where("status = 'ok'")
    linked = link(readable, table, near)
    members = _members(readable, linked.groups).persist(StorageLevel.DISK_ONLY)
    unreadable = photographs.where("status != 'ok'").select(
        "id", "path", "source", "given_split", "class_name", F.col("status").alias("reason")
    )
    sample = _sample(readable, linked.groups).persist(StorageLevel.DISK_ONLY)
    figures = {
        "counts": {
            **_found_counts(photographs),
            "exact_copy_pairs": count_pairs(readable, "byte_hash"),
            "pixel_copy_pairs": count_pairs(readable, "pixel_hash"),
            **_near_counts(linked.near),
            **_group_counts(members),
        },
        "canary": _canary(sample, seed),
        "source": source_and_class(readable, table),
        "classes": class_facts(photographs),
        "unreadable": reasons(unreadable),
        "near_copies": near,
        "groups_table": table is not None,
    }
    tables = {
        "pairs": linked.pairs,
        "groups": members,
        "conflicts": members.where("across_classes"),
        "leaks": members.where("across_splits"),
        "unreadable": unreadable,
    }
    return Audit(figures, tables, sample)


def write(spark: SparkSession, found: Audit, url: str, max_pixels: int) -> None:
    """The tables as Parquet, a group's rows together; the page; audit.json last.

    A sample of the photographs is read again for the page, none of more than `max_pixels` pixels.
    """
    for name, table in found.tables.items():
        ordered = table.sort("group", "id") if "group" in table.columns else table.sort(table.columns[0])
        ordered.write.parquet(storage.join(url, name))
    page = audit_page.render(spark, found.figures, found.tables, found.sample, max_pixels)
    storage.write_bytes(storage.join(url, PAGE), page.encode())
    storage.write_json(storage.join(url, DOCUMENT), found.figures)


def _members(readable: DataFrame, groups: DataFrame) -> DataFrame:
    """Each photograph with its group, the group's size, and whether it lies across splits or classes."""
    placed = readable.select("id", "path", "source", "image_id", "given_split", "class_name").join(groups, "id")
    of_group = placed.groupBy("group").agg(
        F.count("*").alias("size"),
        (F.min("given_split") != F.max("given_split")).alias("across_splits"),
        (F.min("class_name") != F.max("class_name")).alias("across_classes"),
    )
    return placed.join(of_group, "group")


def _found_counts(photographs: DataFrame) -> dict[str, int]:
    unreadable = F.count_if(F.col("status") != "ok").alias("unreadable")
    [row] = photographs.agg(F.count("*").alias("photographs"), unreadable).collect()
    return {name: int(value) for name, value in row.asDict().items()}


def _near_counts(near: NearCopies | None) -> dict[str, int]:
    if near is None:
        return {"near_copy_pairs": 0, "crowded": 0}
    [row] = near.pairs.agg(F.sum("pairs")).collect()
    return {"near_copy_pairs": int(row[0] or 0), "crowded": near.crowded}


def _group_counts(members: DataFrame) -> dict[str, int]:
    first = F.col("id") == F.col("group")  # a group is named by one of its photographs
    [row] = members.agg(
        F.count_if(first).alias("groups"),
        F.count_if(first & F.col("across_splits")).alias("groups_across_splits"),
        F.count_if(F.col("across_splits") & (F.col("given_split") == "test")).alias("test_photographs_leaked"),
        F.count_if(F.col("given_split") == "test").alias("test_photographs"),
        F.count_if(first & F.col("across_classes")).alias("groups_across_classes"),
        F.count_if("across_classes").alias("photographs_in_conflicts"),
    ).collect()
    return {name: int(value) for name, value in row.asDict().items()}


def _sample(readable: DataFrame, groups: DataFrame) -> DataFrame:
    """CANARY_SAMPLE photographs at most, the same number of each class where there are so many."""
    classes = readable.select("class_name").distinct().count()
    order = Window.partitionBy("class_name").orderBy(F.xxhash64("id"), "id")
    ranked = readable.select("class_name", "id", "path", *FEATURES, F.row_number().over(order).alias("rank"))
    kept = ranked.where(F.col("rank") <= max(1, CANARY_SAMPLE // max(1, classes)))
    return kept.join(groups, "id")


def _canary(sample: DataFrame, seed: int) -> dict[str, Any] | None:
    scores = canary(sample.select("id", "class_name", "group", *FEATURES).toPandas(), seed)
    if scores is None:
        return None
    by_feature = {name: asdict(score) for name, score in scores.items() if name != "all"}
    return {**asdict(scores["all"]), "by_feature": by_feature}


def source_and_class(readable: DataFrame, table: DataFrame | None) -> dict[str, Any] | None:
    """How closely source and class go together; a photograph's source is the table's, else its folder's."""
    placed = readable.select("image_id", "class_name", "source")
    if table is not None and "source" in table.columns:
        placed, _ = with_columns(placed, table.select("image_id", "group", "source"))
    sizes = placed.groupBy("source").count()
    if sizes.limit(2).count() < 2:
        return None
    largest = sizes.sort(F.desc("count"), "source").limit(MAX_SOURCES).select("source", F.lit(1).alias("large"))
    named = placed.join(F.broadcast(largest), "source", "left")
    merged = named.groupBy(F.expr("if(large = 1, source, null)").alias("source"), "class_name").count()
    counted: pd.DataFrame = merged.na.fill(OTHER, ["source"]).toPandas()
    counts = counted.pivot_table(index="source", columns="class_name", values="count", fill_value=0)
    array = counts.to_numpy().astype(np.int64)
    return {
        "cramers_v": cramers_v(array),
        "balanced_accuracy": balanced_accuracy_of_source(array),
        "chance": 1 / array.shape[1],
        "sources": {str(name): int(n) for name, n in zip(counts.index, array.sum(axis=1), strict=True)},
    }
