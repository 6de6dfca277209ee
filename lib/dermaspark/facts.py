"""Plain facts of photographs by class: how many, how large, in what format and colour. Bounded, whatever the set."""

from collections import defaultdict
from typing import Any

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

MOST_COMMON = 5  # values of a fact that are named; the others are counted together
MOST_REASONS = 20
COLOUR_BIN = 8  # grey levels
SIDE_BINS_PER_OCTAVE = 4
QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
OTHER = "other"


def class_facts(photographs: DataFrame) -> dict[str, dict[str, Any]]:
    """For each class, in order of name: counts, the most common sizes, modes and formats, bytes, histograms.

    `bytes` has the QUANTILES. `colour.<channel>[i]` counts photographs whose mean is in
    [i, i + 1) * COLOUR_BIN; `side.<i>` those whose side (the square root of width times height) is in
    2 ** ([i, i + 1) / SIDE_BINS_PER_OCTAVE) pixels.
    """
    readable = photographs.where("status = 'ok'")
    facts: dict[str, dict[str, Any]] = defaultdict(dict)
    for row in _counted(photographs, F.expr("if(status = 'ok', given_split, 'unreadable')")):
        facts[row["class_name"]][row["value"]] = row["count"]
    for name, value in (
        ("sizes", F.concat_ws("x", "width", "height")),
        ("modes", F.col("mode")),
        ("formats", F.col("format")),
    ):
        for row in _most_common(readable, value):
            facts[row["class_name"]].setdefault(name, {})[row["value"]] = row["count"]
    quantiles = F.percentile_approx("bytes", list(QUANTILES)).alias("bytes")
    for row in readable.groupBy("class_name").agg(quantiles).collect():
        facts[row["class_name"]]["bytes"] = row["bytes"]
    for channel in ("red", "green", "blue"):
        for row in _counted(readable, F.floor(F.col(channel) / COLOUR_BIN)):
            colour = facts[row["class_name"]].setdefault("colour", {})
            colour.setdefault(channel, [0] * (256 // COLOUR_BIN))[row["value"]] = row["count"]
    side = F.floor(F.log2(F.col("width").cast("double") * F.col("height")) / 2 * SIDE_BINS_PER_OCTAVE)
    for row in _counted(readable, side):
        facts[row["class_name"]].setdefault("side", {})[str(row["value"])] = row["count"]
    return {name: facts[name] for name in sorted(facts)}


def reasons(unreadable: DataFrame) -> dict[str, int]:
    """How many photographs can't be read for each reason, the most common first."""
    rows = _most_common(unreadable.withColumn("class_name", F.lit("")), F.col("reason"), MOST_REASONS)
    return {row["value"]: row["count"] for row in rows}


def _counted(photographs: DataFrame, value: Any) -> Any:
    return photographs.groupBy("class_name", value.alias("value")).count().sort("class_name", "value").collect()


def _most_common(photographs: DataFrame, value: Any, most: int = MOST_COMMON) -> Any:
    """Rows (class_name, value, count), the most common first, the others last as OTHER."""
    counts = photographs.groupBy("class_name", value.alias("value")).count()
    order = Window.partitionBy("class_name").orderBy(F.desc("count"), "value")
    ranked = counts.withColumn("rank", F.least(F.row_number().over(order), F.lit(most + 1)))
    named = ranked.withColumn("value", F.when(F.col("rank") <= most, F.col("value")).otherwise(OTHER))
    merged = named.groupBy("class_name", "value", "rank").agg(F.sum("count").alias("count"))
    return merged.sort("class_name", "rank").collect()
