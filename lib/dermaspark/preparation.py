"""From photographs to a dataset: read each once, group, split, write, and say what was done."""

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from dermaspark import catalog, featurising, gathered, storage
from dermaspark.audit import source_and_class
from dermaspark.census import count_by, count_classes, count_given, protocol
from dermaspark.config import Config, Image, Input, to_dict
from dermaspark.dataset import (
    ENTRIES,
    LEFT_OUT,
    MANIFEST,
    SPLITS,
    UNREADABLE,
    Manifest,
    sweep,
    write_manifest,
)
from dermaspark.division import divide_gathered, divide_on_executors
from dermaspark.errors import UserError
from dermaspark.groups import read_table, with_columns
from dermaspark.photographs import read_and_sketch, read_pixels
from dermaspark.writing import OWN_COLUMNS, copies_of, expand_rows, place_rows, write_rows

log = logging.getLogger("dermaspark")

DEFAULT_OUTPUT = "runs/dataset"
RESERVED = {*OWN_COLUMNS, "path", "predicted", "probability", "probabilities", "status", "class_name", "raw"}
SHARED = ("image_id", "group", "source")  # with the groups table, in this spelling


def prepare(spark: SparkSession, config: Config) -> Manifest:
    """Write the dataset that `config` asks for and return its manifest.

    Raises:
        UserError: no photographs, too many unreadable ones, a class without training photographs.
    """
    url = storage.resolve(config.output.path or DEFAULT_OUTPUT)
    named = catalog.sources(config.input.path)
    folders = catalog.class_folders(named)
    table = read_groups(spark, config.input.groups)
    wanted = featurising.spec_of(config.features, config.split.seed) if config.features.families else None
    output = (url, MANIFEST, "output.path", config.overwrite, ENTRIES)
    storage.reserve(*output)

    # ---- find and read ----
    found = catalog.find(spark, folders).persist(StorageLevel.DISK_ONLY)
    total = count_found(found, len(folders))
    naive = config.split.policy == "as_published"
    read = read_pixels if naive else read_and_sketch
    size = (config.image.height, config.image.width, config.input.max_pixels)
    photographs = read(found.where("kind != 'other'"), total, *size).persist(StorageLevel.DISK_ONLY)
    # Spark reads whole rows of what it keeps: what needs no pixels goes without.
    measured = photographs.drop("image")
    if few := total <= gathered.LIMIT:
        known = measured.withColumn("number", F.xxhash64("id")).toArrow()
        facts = spark.createDataFrame(known.select([*found.columns, "status"])).coalesce(1)
    else:
        facts = measured.persist(StorageLevel.DISK_ONLY)
    readable, bad = facts.where("status = 'ok'"), facts.where("status != 'ok'")
    unreadable, example = unreadable_here(known) if few else unreadable_on_executors(bad)
    refuse_too_many(unreadable, example, total, config.input.max_bad_fraction)
    several_sources = len(named) > 1 or (table is not None and "source" in table.columns)
    # Small steps of Spark that nothing waits for, beside the others: in a row they took a twentieth of the time.
    with ThreadPoolExecutor(1) as beside:
        by_source = beside.submit(source_and_class, readable, table) if several_sources else None

        # ---- group, judge and split ----
        if few:
            splits, census = divide_gathered(readable, known, table, config)
        else:
            splits, census = divide_on_executors(readable, total, table, config)
        class_counts, left_out = count_classes(census), count_by(census, "reason")
        classes = catalog.class_names(count_given(census))
        counts = {split: sum(class_counts[split].values()) for split in SPLITS}
        storage.claim(*output)  # only now: photographs that are refused leave an earlier dataset as it is
        tables = [beside.submit(set_aside, bad, url), beside.submit(leave_out, splits, url)]
        log.info("split: %s, left out %d", ", ".join(f"{s} {n}" for s, n in counts.items()), sum(left_out.values()))

        # ---- augment and write ----
        kept = splits.where("reason is null")
        kept = kept.select("id", "image_id", "source", "group", "class_name", "split", "order")
        columns: list[str] = []
        if table is not None:
            kept, columns = with_columns(kept, table)
        if not few:  # Spark would sort the pixels, all of them, to join them to more than it broadcasts
            kept = kept.hint("shuffle_hash")
        rows = photographs.select("id", "image").join(kept, "id")
        placed = place_rows(rows, classes, counts, columns, config)
        make = copies_of(config.augment, config.image, config.split.seed, columns)
        spec, persisted = preprocessing(config.image, config.input), [found, photographs, facts, splits]
        if wanted:
            log.info("computing features: %s", ", ".join(config.features.families))
            expanded = expand_rows(placed, make, columns)
            placed, fitted = featurising.measure(expanded, wanted, config.image.height, config.image.width)
            persisted.append(placed)
            make = featurising.projection(fitted)
            spec["features"] = featurising.save(url, fitted)
        files = write_rows(placed, make, url)
        for written in tables:
            written.result()
    sweep(url, files)
    manifest = Manifest(
        classes=classes,
        preprocessing=spec,
        augment=to_dict(config.augment),
        split=to_dict(config.split),
        sources=named,
        columns=columns,
        counts={"found": total, **counts, "left_out": sum(left_out.values()), "unreadable": unreadable},
        class_counts=class_counts,
        protocol={
            **protocol(census, config),
            "left_out": left_out,
            "source": by_source.result() if by_source else None,
        },
        files=files,
    )
    write_manifest(url, manifest)
    for each in persisted:
        each.unpersist()
    return manifest


def preprocessing(image: Image, source: Input) -> dict[str, Any]:
    """All that decides a photograph's pixels; training and use share it through the bundle."""
    return {**to_dict(image), "channels": 3, "max_pixels": source.max_pixels}


# ---- find and read ----


def count_found(found: DataFrame, folders: int) -> int:
    kinds: dict[str, int] = {row["kind"]: row["count"] for row in found.groupBy("kind").count().collect()}
    total = sum(n for kind, n in kinds.items() if kind != "other")
    log.info("found %d photographs in %d class folders, %d other files", total, folders, kinds.get("other", 0))
    return total


def read_groups(spark: SparkSession, paths: Any) -> DataFrame | None:
    """The groups table of `input.groups`, a CSV or a list of them."""
    if not paths:
        return None
    table = read_table(spark, [storage.resolve(str(path)) for path in (paths if isinstance(paths, list) else [paths])])
    # Spark takes names that differ in case for one.
    clash = sorted(name for name in table.columns if name.lower() in RESERVED and name not in SHARED)
    if clash:
        raise UserError(f"input.groups={paths}: a column named {clash[0]} is the dataset's own; rename it")
    return table.persist(StorageLevel.DISK_ONLY)


CountAndExample = tuple[int, Mapping[str, str] | None]  # how many, and the first by id: its path and status


def unreadable_here(known: pa.Table) -> CountAndExample:
    """How many of the photographs that the driver knows can't be read, and an example."""
    bad = known.select(["id", "path", "status"]).filter(pc.field("status") != "ok").sort_by("id")
    return bad.num_rows, next(iter(bad.slice(0, 1).to_pylist()), None)


def unreadable_on_executors(bad: DataFrame) -> CountAndExample:
    """The same of photographs that executors know: those that can't be read."""
    [row] = bad.agg(F.count("*").alias("n"), F.min(F.struct("id", "path", "status")).alias("first")).collect()
    return int(row["n"]), row["first"].asDict() if row["first"] else None


def refuse_too_many(n: int, first: Mapping[str, str] | None, total: int, max_bad_fraction: float) -> None:
    """Warn of photographs that can't be read; UserError where they are too many."""
    if first:
        log.warning("set aside %d of %d photographs, e.g. %s: %s", n, total, first["path"], first["status"])
    if first and n > max_bad_fraction * total:
        raise UserError(
            f"{n} of {total} photographs can't be read, e.g. {first['path']}: {first['status']}; "
            f"more than input.max_bad_fraction={max_bad_fraction}: repair or remove them, or raise it"
        )


def set_aside(bad: DataFrame, url: str) -> None:
    """Write the table of unreadable photographs."""
    bad = bad.select("id", "path", "source", "given_split", "class_name", F.col("status").alias("reason"))
    bad.repartition(1).sort("id").write.parquet(storage.join(url, UNREADABLE))


# ---- group, judge and split ----


def leave_out(splits: DataFrame, url: str) -> None:
    """Write the table of photographs that were left out."""
    gone = splits.where("reason is not null")
    gone = gone.select("id", "group", "given_split", "class_name", "reason", "path", "source")
    gone.repartition(1).sort("id").write.parquet(storage.join(url, LEFT_OUT))
