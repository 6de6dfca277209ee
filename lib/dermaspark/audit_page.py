"""The audit as one HTML page with pictures: self-contained, of bounded size, for a screen, a phone or paper."""

import base64
import io
from collections.abc import Iterable, Iterator
from importlib import resources
from typing import Any

import matplotlib as mpl
import numpy as np
import pyarrow as pa
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from PIL import Image
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from dermaspark import drawing, storage
from dermaspark.facts import COLOUR_BIN, SIDE_BINS_PER_OCTAVE
from dermaspark.photo import decode, inspect
from dermaspark.photo_file import Unreadable
from dermaspark.sparing import spared

ON_CONTACT_SHEET = 24  # photographs of a class,
ON_ALL_SHEETS = 1_200  # and of all together
GROUPS_SHOWN = 48  # of leaks and of conflicts
SHOWN_OF_GROUP = 6  # photographs
PICTURE_SIDE = 160  # pixels, the longer one
PICTURE_QUALITY = 80
PICTURES_PER_TASK = 64
CHANNELS = {"red": "#c0504d", "green": "#5f9e62", "blue": "#4f81bd"}
CHART = {"width": 340, "height": 112, "left": 8, "top": 8, "right": 8, "bottom": 32}  # points
HIGHEST_SHARE = 0.35  # of a class in one bin of colour; more is cut


def render(
    spark: SparkSession,
    figures: dict[str, Any],
    tables: dict[str, DataFrame],
    sample: DataFrame,
    max_pixels: int,
) -> str:
    """The page, of what `audit.Audit` holds; every text in it that came from folders or tables is escaped.

    No picture is made of a photograph of more than `max_pixels` pixels.
    """
    per_sheet = min(ON_CONTACT_SHEET, max(1, ON_ALL_SHEETS // max(1, len(figures["classes"]))))
    rows = sample.where(F.col("rank") <= per_sheet).sort("class_name", "rank").select("class_name", "id", "path")
    sheets: dict[str, list[dict[str, Any]]] = {name: [] for name in figures["classes"]}
    for row in rows.collect():
        sheets[row["class_name"]].append(row.asDict())
    groups = {
        name: groups_shown(tables[name], tables["pairs"], side) if figures["counts"][count] else []
        for name, side, count in (
            ("leaks", "given_split", "groups_across_splits"),
            ("conflicts", "class_name", "groups_across_classes"),
        )
    }
    shown = [one for sheet in sheets.values() for one in sheet]
    shown += [one for found in groups.values() for group in found for one in group["photographs"]]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["thousands"] = "{:,}".format
    source = resources.files("dermaspark").joinpath("templates", "audit.html.j2").read_text("utf-8")
    return environment.from_string(source).render(
        figures=figures,
        counts=figures["counts"],
        sheets=sheets,
        charts=histograms(figures["classes"]),
        pictures=pictures(spark, sorted({one["path"] for one in shown}), max_pixels),
        **groups,
    )


def groups_shown(members: DataFrame, pairs: DataFrame, side: str) -> list[dict[str, Any]]:
    """GROUPS_SHOWN groups, drawn by a hash, with SHOWN_OF_GROUP photographs each, of every `side` in turn.

    Each is a dict of its size, its photographs, how many links of each kind it has (`kinds`), and whether these are
    too few to hold it together without the groups table (`by_table`).
    """
    drawn = members.where(F.col("id") == F.col("group")).sort(F.xxhash64("group"), "group").limit(GROUPS_SHOWN)
    rows = members.join(F.broadcast(drawn.select("group")), "group")
    turn = F.row_number().over(Window.partitionBy("group", side).orderBy("id"))
    place = F.row_number().over(Window.partitionBy("group").orderBy("turn", side))
    placed = rows.withColumn("turn", turn).withColumn("place", place).where(F.col("place") <= SHOWN_OF_GROUP)
    groups: dict[str, dict[str, Any]] = {}
    for row in placed.sort(F.xxhash64("group"), "group", side, "id").collect():
        group = groups.setdefault(row["group"], {"size": row["size"], "photographs": [], "kinds": {}})
        group["photographs"].append(row.asDict())
    linked = pairs.join(rows.select("group", F.col("id").alias("id_a")), "id_a").groupBy("group", "kind").count()
    for row in linked.sort("group", "kind").collect():
        groups[row["group"]]["kinds"][row["kind"]] = row["count"]
    for group in groups.values():
        # Fewer links than hold a group of this size together: the rest are the table's.
        group["by_table"] = sum(group["kinds"].values()) < group["size"] - 1
    return list(groups.values())


def pictures(spark: SparkSession, paths: list[str], max_pixels: int) -> dict[str, str]:
    """Small JPEGs of the photographs, as data URLs by path, made by the executors."""

    def make(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            jpegs = [picture(path, max_pixels) for path in batch.column("path").to_pylist()]
            columns = [batch.column("path"), pa.array(jpegs, pa.binary())]
            yield pa.RecordBatch.from_arrays(columns, names=["path", "jpeg"])

    if not paths:
        return {}
    table = spark.createDataFrame([(path,) for path in paths], "path string")
    made = table.repartition(-(-len(paths) // PICTURES_PER_TASK)).mapInArrow(spared(make), "path string, jpeg binary")
    rows = made.where("jpeg is not null").collect()
    return {row["path"]: f"data:image/jpeg;base64,{base64.b64encode(row['jpeg']).decode()}" for row in rows}


def picture(url: str, max_pixels: int) -> bytes | None:
    """A JPEG of a photograph, its longer side PICTURE_SIDE at most; None where it can't be read any more."""
    try:
        data = storage.read_bytes(url)
        header = inspect(data, max_pixels)
        scale = min(1.0, PICTURE_SIDE / max(header.width, header.height))
        width, height = (max(1, round(side * scale)) for side in (header.width, header.height))
        pixels = decode(data, height, width, max_pixels)
    except (OSError, Unreadable):
        return None
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=PICTURE_QUALITY)
    return file.getvalue()


def histograms(classes: dict[str, dict[str, Any]]) -> dict[str, dict[str, Markup]]:
    """For each class an SVG of its mean colours and one of its sizes, on the same axes for all classes."""
    bins = [int(i) for facts in classes.values() for i in facts["side"]]
    found = {}
    for number, (name, facts) in enumerate(classes.items()):
        if facts["side"]:
            colour = _colours(facts["colour"], f"colour{number}")
            found[name] = {"colour": colour, "side": _sides(facts["side"], min(bins), max(bins), f"side{number}")}
    return found


@mpl.rc_context(drawing.STYLE)
def _colours(colour: dict[str, list[int]], name: str) -> Markup:
    figure, axes = drawing.panel(**CHART)
    for channel, counts in colour.items():
        shares, edges = np.array(counts) / sum(counts), np.arange(len(counts) + 1) * COLOUR_BIN
        axes.stairs(shares, edges, fill=True, color=CHANNELS[channel], alpha=0.2)
        axes.stairs(shares, edges, color=CHANNELS[channel], linewidth=1.2)
    axes.set(xlim=(0, 256), xticks=range(0, 257, 64), ylim=(0, HIGHEST_SHARE), yticks=[])
    axes.set_xlabel("mean red, green and blue of a photograph, 0 to 255")
    return Markup(drawing.as_svg(figure, name))


@mpl.rc_context(drawing.STYLE)
def _sides(side: dict[str, int], low: int, high: int, name: str) -> Markup:
    figure, axes = drawing.panel(**CHART)
    low, high = low - SIDE_BINS_PER_OCTAVE, high + SIDE_BINS_PER_OCTAVE
    bins = np.arange(low, high + 1)
    shares = np.array([side.get(str(i), 0) for i in bins]) / sum(side.values())
    axes.stairs(shares, np.append(bins, high + 1) / SIDE_BINS_PER_OCTAVE, fill=True, color=drawing.ACCENT)
    ticks = range(low // SIDE_BINS_PER_OCTAVE, high // SIDE_BINS_PER_OCTAVE + 2)
    axes.set_xticks(ticks, [f"{2**tick:,}" for tick in ticks])
    axes.set(ylim=(0, 1.02), yticks=[])
    axes.set_xlabel("side of a photograph, √(width · height), in pixels")
    return Markup(drawing.as_svg(figure, name))
