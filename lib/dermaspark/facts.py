"""Plain facts of photographs by class: how many, how large, in what format and colour. Bounded, whatever the set."""

from collections import defaultdict
from typing import Any

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

MOST_COMMON = 5  # sizes, modes and formats of a class that are named; the others are counted together
MOST_REASONS = 20
COLOUR_BIN = 8  # grey levels
SIDE_BINS_PER_OCTAVE = 4
QUANTILES = [0.0, 0.25, 0.5, 0.75, 1.0]
OTHER = "other"


def class_facts(photographs: DataFrame) -> dict[str, dict[str, Any]]:
    """For each class, in order of name: counts, the most common sizes, modes and formats, bytes, histograms.

    `bytes` has the QUANTILES. `colour.<channel>[i]` counts photographs whose mean is in
    [i, i + 1) * COLOUR_BIN; `side.<i>` those whose side (the square root of width times height) is in
    2 ** ([i, i + 1) / SIDE_BINS_PER_OCTAVE) pixels.
    """
    readable = photographs.where("status = 'ok'")
    side = F.floor(F.log2(F.col("width").cast("double") * F.col("height")) / 2 * SIDE_BINS_PER_OCTAVE)
    values = {
        "split": F.col("given_split"),
        "sizes": F.concat_ws("x", "width", "height"),
        "modes": F.col("mode"),
        "formats": F.col("format"),
        "side": side.cast("string"),
        **{name: F.floor(F.col(name) / COLOUR_BIN).cast("string") for name in ("red", "green", "blue")},
    }
    facts: dict[str, dict[str, Any]] = defaultdict(lambda: defaultdict(dict))
    for row in photographs.groupBy("class_name").agg(F.count_if(F.col("status") != "ok").alias("n")).collect():
        facts[row["class_name"]]["unreadable"] = row["n"]
    for row in _most_common(readable, values, MOST_COMMON, ("sizes", "modes", "formats")):
        facts[row["class_name"]][row["fact"]][row["value"]] = row["count"]
    for row in readable.groupBy("class_name").agg(F.percentile_approx("bytes", QUANTILES).alias("bytes")).collect():
        facts[row["class_name"]]["bytes"] = row["bytes"]
    return {name: _laid_out(facts[name]) for name in sorted(facts)}


def reasons(unreadable: DataFrame) -> dict[str, int]:
    """How many photographs can't be read for each reason, the most common first."""
    everything = unreadable.withColumn("class_name", F.lit(""))
    rows = _most_common(everything, {"reason": F.col("reason")}, MOST_REASONS, ("reason",))
    return {row["value"]: row["count"] for row in rows}


def _laid_out(facts: dict[str, Any]) -> dict[str, Any]:
    """The counts of splits beside each other, and bins of colour as lists."""
    laid_out = {"train": facts["split"].get("train", 0), "test": facts["split"].get("test", 0)}
    laid_out |= {name: facts[name] for name in ("unreadable", "sizes", "modes", "formats", "bytes", "side")}
    bins = [str(i) for i in range(256 // COLOUR_BIN)]
    laid_out["colour"] = {name: [facts[name].get(i, 0) for i in bins] for name in ("red", "green", "blue")}
    return laid_out


def _most_common(photographs: DataFrame, values: dict[str, Column], most: int, bounded: tuple[str, ...]) -> Any:
    """Rows (class_name, fact, value, count) of each fact, the most common value first.

    Of the `bounded` facts the `most` common values are named, the others follow as OTHER.
    """
    each = [F.struct(F.lit(fact).alias("fact"), value.alias("value")) for fact, value in values.items()]
    told = photographs.select("class_name", F.explode(F.array(*each)).alias("told")).select("class_name", "told.*")
    counts = told.groupBy("class_name", "fact", "value").count()
    order = Window.partitionBy("class_name", "fact").orderBy(F.desc("count"), "value")
    ranked = counts.withColumn("rank", F.row_number().over(order))
    rare = F.col("fact").isin(*bounded) & (F.col("rank") > most)
    merged = ranked.groupBy(
        "class_name",
        "fact",
        F.when(rare, OTHER).otherwise(F.col("value")).alias("value"),
        F.when(rare, most + 1).otherwise(F.col("rank")).alias("rank"),
    )
    return merged.agg(F.sum("count").alias("count")).sort("class_name", "fact", "rank").collect()
