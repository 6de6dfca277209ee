"""Groups: photographs that are linked, by being copies or by a table of lesions or patients, in any number of steps."""

import logging
from collections.abc import Iterable, Iterator
from decimal import Decimal
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dermaspark.errors import UserError
from dermaspark.sparing import spared
from dermaspark.storage import exists, literal

log = logging.getLogger("dermaspark")

GROUP_COLUMNS = ("group", "lesion_id")
LINKS_OF_ONE_TASK = 50_000  # some 20 MB
Checksum = tuple[int, Decimal | None]
NO_EDGES: Checksum = (0, None)


def components(links: DataFrame, photographs: DataFrame) -> DataFrame:
    """The connected component of each photograph, named by the smallest id in it.

    One task joins up to LINKS_OF_ONE_TASK links. More are joined by the two-phase algorithm of Kiveris et al.
    ("Connected Components in MapReduce and Beyond", 2014): every round links each photograph's neighbours to the
    smallest among them, first the larger ones and then the smaller ones, until only stars are left; a chain of n
    takes about log n rounds.

    Args:
        links: columns id_a and id_b, in any order and number; ids that `photographs` has.
        photographs: column id.

    Returns:
        columns id and group, a row for each row of `photographs`.
    """
    edges = links.select(F.least("id_a", "id_b").alias("low"), F.greatest("id_a", "id_b").alias("high"))
    edges = cut(edges.where("low < high").distinct())
    now, before = checksum(edges), NO_EDGES
    if now[0] <= LINKS_OF_ONE_TASK:
        edges = edges.coalesce(1).mapInArrow(spared(_join_up), "low string, high string")
    else:
        while now != before:
            edges = cut(_small_star(_large_star(edges)))
            now, before = checksum(edges), now
    named = edges.select(F.col("high").alias("id"), F.col("low").alias("group"))
    return photographs.select("id").join(named, "id", "left").select("id", F.coalesce("group", "id").alias("group"))


def star(photographs: DataFrame, *columns: str) -> DataFrame:
    """Links (id_a, id_b) that join the photographs with equal `columns`: each with the first of them, by id.

    n - 1 links for n photographs, none where a column is null.
    """
    first = F.min("id").over(Window.partitionBy(*columns))
    known = photographs.dropna(subset=list(columns))
    return known.select(first.alias("id_a"), F.col("id").alias("id_b")).where("id_a < id_b")


def links_of_table(photographs: DataFrame, table: DataFrame) -> DataFrame:
    """Links (id_a, id_b) between photographs (id, image_id) that stand in one group of `read_table`'s table."""
    named = photographs.select("id", "image_id").join(table.select("image_id", "group"), "image_id")
    if named.isEmpty():
        log.warning("input.groups: names none of the photographs (image_id is a file's name without .jpg)")
    return star(named, "group")


def read_table(spark: SparkSession, urls: list[str]) -> DataFrame:
    """The groups table: columns image_id, group, and any others of the CSVs, one row an image_id, all strings.

    A CSV names its groups `group` or `lesion_id`; an empty group links nothing. Several CSVs are laid over each
    other.

    Raises:
        UserError: a file that isn't there or lacks a column, or an image_id with two values in one column.
    """
    files = [_read_csv(spark, url) for url in urls]
    rows = reduce(lambda a, b: a.unionByName(b, allowMissingColumns=True), files)
    values = [name for name in rows.columns if name not in ("image_id", _FILE)]
    merged = rows.where("image_id is not null").groupBy("image_id")
    both = merged.agg(
        *[F.min(_quoted(name)).alias(f"min {name}") for name in values],
        *[F.max(_quoted(name)).alias(f"max {name}") for name in values],
        F.array_sort(F.collect_set(_FILE)).alias(_FILE),
    )
    _refuse_conflicts(both, values)
    return both.select("image_id", *[_quoted(f"min {name}").alias(name) for name in values])


def with_columns(rows: DataFrame, table: DataFrame) -> tuple[DataFrame, list[str]]:
    """The rows with the groups table's other columns, and their names; its `source` goes before the folder's."""
    extra = table.drop("group")
    columns = [name for name in extra.columns if name not in ("image_id", "source")]
    if "source" not in extra.columns:
        return rows.join(extra, "image_id", "left"), columns
    joined = rows.join(extra.withColumnRenamed("source", "table_source"), "image_id", "left")
    return joined.withColumn("source", F.coalesce("table_source", "source")).drop("table_source"), columns


_FILE = "file of the row"


def _refuse_conflicts(both: DataFrame, values: list[str]) -> None:
    differs = [_quoted(f"min {name}") != _quoted(f"max {name}") for name in values]
    conflict = both.where(reduce(lambda a, b: a | b, differs)).sort("image_id").first()
    if conflict is None:
        return
    name = next(name for name in values if conflict[f"min {name}"] != conflict[f"max {name}"])
    raise UserError(
        f"input.groups={', '.join(conflict[_FILE])}: image_id {conflict['image_id']} has two values of {name}, "
        f"{conflict[f'min {name}']} and {conflict[f'max {name}']}; keep one"
    )


def _read_csv(spark: SparkSession, url: str) -> DataFrame:
    if not exists(url):
        raise UserError(f"input.groups={url}: no such file")
    table = spark.read.csv(literal(url), header=True, ignoreLeadingWhiteSpace=True, ignoreTrailingWhiteSpace=True)
    named = [name for name in GROUP_COLUMNS if name in table.columns]
    if "image_id" not in table.columns or not named:
        raise UserError(
            f"input.groups={url}: its first line names {', '.join(table.columns)}; "
            "it has to name image_id, and group or lesion_id"
        )
    return table.withColumnRenamed(named[0], "group").withColumn(_FILE, F.lit(url))


def _quoted(name: str) -> Column:
    return F.col("`" + name.replace("`", "``") + "`")


def _join_up(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Links (low, high) in any number, as stars: each photograph with the smallest of its component."""
    links = pa.Table.from_batches([pa.record_batch(batch.columns, _LINKS) for batch in batches], _LINKS)
    ids = pc.unique(pa.chunked_array([*links["low"].chunks, *links["high"].chunks], pa.string()))
    ids = ids.take(pc.sort_indices(ids))  # by their bytes, as Spark does
    low, high = (pc.index_in(links[name], ids).to_numpy() for name in ("low", "high"))
    named = pa.table([ids.take(first_joined(low, high, len(ids))), ids], _LINKS)
    yield from named.filter(pc.less(named["low"], named["high"])).to_batches()


def first_joined(low: NDArray[np.int64], high: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """The first of `n` that each is joined with by the links (low, high), in any number of steps, or itself."""
    graph = coo_array((np.ones(len(low), np.int8), (low, high)), (n, n))
    _, component = connected_components(graph, directed=False)
    _, first = np.unique(component, return_index=True)
    smallest: NDArray[np.int64] = first[component]
    return smallest


_LINKS = pa.schema([("low", pa.string()), ("high", pa.string())])


def _large_star(edges: DataFrame) -> DataFrame:
    """Each photograph's larger neighbours are linked to its smallest neighbour, or to itself."""
    both = edges.union(edges.select("high", "low")).toDF("centre", "other")
    smallest = F.least("centre", F.min("other").over(Window.partitionBy("centre")))
    linked = both.select(smallest.alias("low"), F.col("other").alias("high"), "centre").where("high > centre")
    return linked.select("low", "high").distinct()


def _small_star(edges: DataFrame) -> DataFrame:
    """Each photograph and its smaller neighbours are linked to the smallest of these."""
    smallest = F.min("low").over(Window.partitionBy("high"))
    linked = edges.select(smallest.alias("smallest"), F.explode(F.array("low", "high")).alias("other"))
    return linked.where("smallest < other").toDF("low", "high").distinct()


def cut(edges: DataFrame) -> DataFrame:
    """The same rows, computed now, their history forgotten: without that the plan doubles with every round.

    Kept on the disks of two executors each, so that one may be lost; or where the session's checkpoint directory
    is, if it has one, which outlives them all.
    """
    kept = edges.sparkSession.sparkContext.getCheckpointDir() is not None
    return edges.checkpoint() if kept else edges.localCheckpoint(storageLevel=StorageLevel.DISK_ONLY_2)


def checksum(rows: DataFrame) -> Checksum:
    """How many rows there are, and the sum of their hashes: the same in any order."""
    hashed = F.xxhash64(*[_quoted(name) for name in rows.columns])
    [row] = rows.agg(F.count("*"), F.sum(hashed.cast("decimal(20,0)"))).collect()
    return row[0], row[1]


def read_labels(spark: SparkSession, url: str) -> DataFrame:
    """A table of labels: columns image_id and class of a CSV, one row an image_id.

    Raises:
        UserError: a file that isn't there or lacks a column, or an image_id with two classes.
    """
    if not exists(url):
        raise UserError(f"split.relabel={url}: no such file")
    table = spark.read.csv(literal(url), header=True, ignoreLeadingWhiteSpace=True, ignoreTrailingWhiteSpace=True)
    if not {"image_id", "class"} <= set(table.columns):
        raise UserError(f"split.relabel={url}: its first line names {', '.join(table.columns)}, not image_id and class")
    labels = table.select("image_id", "class").dropna().distinct()
    twice = labels.groupBy("image_id").count().where("count > 1").sort("image_id").first()
    if twice:
        raise UserError(f"split.relabel={url}: image_id {twice['image_id']} has two classes; keep one")
    return labels
