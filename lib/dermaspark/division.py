"""Who is trained on, who is held back and who is left out: by links, groups, policy and split, in that order.

There are two ways to the same division: on the executors and, where photographs are few, in the driver, as some thirty
small steps of Spark take longer than all that they do.
"""

import logging
from math import ceil

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dermaspark import gathered
from dermaspark.census import BY, add_up, take_census
from dermaspark.config import Config
from dermaspark.groups import components, links_of_table, read_labels
from dermaspark.photographs import fingerprint_all
from dermaspark.policy import judge
from dermaspark.split import Scheme, divide
from dermaspark.storage import resolve
from dermaspark.suspects import DECODING, link_copies

log = logging.getLogger("dermaspark")

MEMBER = {name: pa.string() for name in ("id", "image_id", "path", "source", "given_split", "class_name")}
JUDGED = {**MEMBER, "group": pa.string(), "stratum": pa.string(), "leaked": pa.bool_(), "reason": pa.string()}
DIVIDED = {**JUDGED, "split": pa.string(), "order": pa.int64()}
CENSUS = {**{name: DIVIDED[name] for name in BY}, "photographs": pa.int64(), "groups": pa.int64()}
_SQL = {pa.string(): "string", pa.bool_(): "boolean", pa.int64(): "long"}

Division = tuple[DataFrame, pd.DataFrame]  # the columns DIVIDED, persisted or in the driver's memory; the census


def divide_gathered(readable: DataFrame, known: pa.Table, table: DataFrame | None, config: Config) -> Division:
    """The division of photographs of which all is `known` here.

    Args:
        readable: columns of `MEMBER`.
        known: of all photographs status, columns of `MEMBER` and, unless no copies are looked for, what
            `gathered.group_all` takes.
        table: `groups.read_table`'s.
    """
    spark = readable.sparkSession
    here = known.filter(pc.equal(known["status"], "ok")).to_pandas()

    def decode(suspects: pd.DataFrame) -> pd.DataFrame:
        log.info(DECODING, len(suspects))
        if suspects.empty:
            return pd.DataFrame(columns=["id", "pixel_hash", "thumbnail"])
        found = spark.createDataFrame(_table(suspects, {name: pa.string() for name in ("id", "path", "kind")}))
        whole = fingerprint_all(found, len(suspects), config.input.max_pixels).where("status = 'ok'")
        return whole.select("id", "pixel_hash", "thumbnail").toArrow().to_pandas()

    members = here[[*MEMBER]]
    if config.split.relabel:
        members = relabel(readable, config.split.relabel).select(*MEMBER).toArrow().to_pandas()
    if config.split.policy == "as_published":
        groups = members[["id"]].assign(group=members["id"])
    else:
        linked = gathered.NO_LINKS if table is None else links_of_table(readable, table).toPandas()
        groups = gathered.group_all(here, config.audit.near_copies, decode, linked)
    divided = divide(judge(members.merge(groups, on="id"), config.split.policy), scheme_of(config))
    return spark.createDataFrame(_table(divided, DIVIDED)).coalesce(1), take_census(divided)


def divide_on_executors(readable: DataFrame, total: int, table: DataFrame | None, config: Config) -> Division:
    """The division of any number of photographs; one class at a time in an executor's memory.

    Args:
        readable: columns of `MEMBER` and, unless no copies are looked for, kind and SKETCH; persisted.
        total: about how many there are.
        table: `groups.read_table`'s.
    """
    scheme, policy = scheme_of(config), config.split.policy
    if policy == "as_published":
        groups = readable.select("id", F.col("id").alias("group"))
    else:
        links = link_copies(readable, config.audit.near_copies, config.input.max_pixels)
        if table is not None:
            links = links.union(links_of_table(readable, table))
        groups = components(links, readable)
    members = relabel(readable, config.split.relabel).select(*MEMBER).join(groups, "id")
    shard = F.pmod(F.xxhash64("group"), F.lit(ceil(total / gathered.LIMIT)))
    judged = members.groupBy(shard).applyInPandas(lambda part: judge(part, policy)[[*JUDGED]], _sql(JUDGED))
    of_stratum = judged.groupBy("stratum")
    divided = of_stratum.applyInPandas(lambda part: divide(part, scheme)[[*DIVIDED]], _sql(DIVIDED))
    divided = divided.persist(StorageLevel.DISK_ONLY)
    counted = divided.mapInPandas(lambda parts: map(take_census, parts), _sql(CENSUS))
    return divided, add_up(counted.toArrow().to_pandas())


def scheme_of(config: Config) -> Scheme:
    settings = config.split
    return Scheme(settings.validation, settings.folds, settings.fold, settings.seed)


def relabel(members: DataFrame, path: str | None) -> DataFrame:
    """Training photographs with the class that a CSV (image_id, class) gives them; the others as they are."""
    if not path:
        return members
    labels = read_labels(members.sparkSession, resolve(path)).withColumnRenamed("class", "new_class")
    labels = labels.join(members.where("given_split = 'train'"), "image_id", "left_semi")
    if labels.isEmpty():
        log.warning("split.relabel: names no training photograph (image_id is a file's name without .jpg)")
    new = labels.join(members, F.col("new_class") == F.col("class_name"), "left_anti").select("new_class").distinct()
    if names := sorted(row["new_class"] for row in new.collect()):
        log.warning("split.relabel: no folder is named %s, which it makes classes", ", ".join(names))
    chosen = F.when(F.col("given_split") == "train", F.coalesce("new_class", "class_name")).otherwise(
        F.col("class_name")
    )
    return members.join(labels, "image_id", "left").withColumn("class_name", chosen).drop("new_class")


def _table(rows: pd.DataFrame, columns: dict[str, pa.DataType]) -> pa.Table:
    return pa.Table.from_pandas(rows[[*columns]], pa.schema(list(columns.items())), preserve_index=False)


def _sql(columns: dict[str, pa.DataType]) -> str:
    return ", ".join(f"{name} {_SQL[kind]}" for name, kind in columns.items())
