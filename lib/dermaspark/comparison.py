"""Two reports compared on the photographs that both scored: what the second gains on the first, and how surely."""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from scipy.stats import binomtest

from dermaspark import bootstrap, storage
from dermaspark.adding import SUMS, add_up, as_batch, sums_of
from dermaspark.errors import UserError
from dermaspark.evaluation import METRICS, PREDICTIONS
from dermaspark.labels import Ints
from dermaspark.ratios import mean
from dermaspark.sparing import spared
from dermaspark.summary import HEADLINES, aligned

SIDES = ("a", "b")


def compare(spark: SparkSession, first: str, second: str, split: str | None = None) -> dict[str, Any]:
    """Figures of two reports (paths of their folders) on the photographs of a split that both scored.

    Both are resampled alike, by group, so the intervals are of paired differences. McNemar's test is the exact one:
    how often coins would fall as unevenly as the photographs that one alone has right.

    Args:
        split: by default the first of test, outside, out_of_fold, val and train that both have.

    Raises:
        UserError: a folder that is no report, no split or photograph in common, a photograph with two labels.
    """
    urls = [storage.resolve(path) for path in (first, second)]
    documents = [storage.read_json(storage.join(url, METRICS)) for url in urls]
    split = _common_split(documents, urls, split)
    sides = [
        _answers(spark, url, document, split, side) for url, document, side in zip(urls, documents, SIDES, strict=True)
    ]
    scored = [side.count() for side in sides]
    both = sides[0].join(sides[1].drop("group"), "id").persist(StorageLevel.DISK_ONLY)
    try:
        counts = _counts(both, urls, split)
        draws = _replicates(both, list(counts))
    finally:
        both.unpersist()
    return {"reports": urls, "split": split, "scored": scored, **_figures(counts, draws)}


def as_text(found: Mapping[str, Any]) -> str:
    """The comparison as a short table."""
    names = dict(zip("AB", found["reports"], strict=True))
    lines = [f"{name}  {url} ({n} photographs)" for (name, url), n in zip(names.items(), found["scored"], strict=True)]
    rows = [[f"{found['split']}, n = {found['n']}", "A", "B", "B - A", "95 % interval"]]
    for name in ("accuracy", "balanced_accuracy"):
        of = found[name]
        interval = " to ".join(f"{bound:+.3f}" for bound in of["difference_ci95"])
        rows.append([name.replace("_", " "), f"{of['a']:.3f}", f"{of['b']:.3f}", f"{of['difference']:+.3f}", interval])
    test = found["mcnemar"]
    last = f"right in A alone {test['only_a']}, in B alone {test['only_b']}: exact McNemar p = {test['p']:.3g}"
    return "\n".join([*lines, "", aligned(rows), "", last])


def _common_split(documents: list[dict[str, Any]], urls: list[str], wanted: str | None) -> str:
    names = [[name for name in HEADLINES if name in document["splits"]] for document in documents]
    common = [name for name in names[0] if name in names[1]]
    if not common or (wanted and wanted not in common):
        has = "; ".join(f"{url} has {', '.join(of)}" for url, of in zip(urls, names, strict=True))
        raise UserError(f"the reports have no split {wanted or ''} in common: {has}".replace("  ", " "))
    return wanted or common[0]


def _answers(spark: SparkSession, url: str, document: dict[str, Any], split: str, side: str) -> DataFrame:
    """Columns id, group, `label <side>` and `right <side>` of the photographs of one report that have figures."""
    rows = spark.read.parquet(storage.literal(storage.join(url, PREDICTIONS)))
    if "group" not in rows.columns:
        raise UserError(f"{url}: its predictions have no column group: it is of an earlier version; evaluate again")
    scored = rows.where((F.col("split") == split) & (F.col("status") == "ok") & F.col("label").isNotNull())
    group = F.coalesce("group", "id").alias("group")
    right = _right(document).alias(f"right {side}")
    return scored.select("id", group, F.col("label").alias(f"label {side}"), right)


def _right(document: dict[str, Any]) -> Column:
    """Whether a prediction is right: one of its label's classes in an outside test, else the label itself."""
    protocol = document["protocol"]
    sets = protocol.get("labels") if isinstance(protocol, dict) else None
    if sets is None:
        return F.col("predicted") == F.col("label")
    pairs = [F.concat_ws("/", F.lit(label), F.lit(name)) for label, names in sets.items() for name in names]
    return F.concat_ws("/", "label", "predicted").isin(*pairs)


def _counts(both: DataFrame, urls: list[str], split: str) -> dict[str, dict[str, int]]:
    """By label: photographs, those that each report has right, and those that it alone has right."""
    a, b = (F.col(f"right {side}") for side in SIDES)
    rows = both.groupBy(F.col("label a").alias("label")).agg(
        F.count("*").alias("n"),
        F.count_if(a).alias("a"),
        F.count_if(b).alias("b"),
        F.count_if(a & ~b).alias("only_a"),
        F.count_if(~a & b).alias("only_b"),
        F.count_if(F.col("label a") != F.col("label b")).alias("other label"),
        F.min(F.when(F.col("label a") != F.col("label b"), F.col("id"))).alias("example"),
    )
    found = {row["label"]: row.asDict() for row in sorted(rows.collect())}
    if not found:
        raise UserError(f"{urls[0]} and {urls[1]}: no photograph of {split} was scored in both; their ids must agree")
    for label, row in found.items():
        if row["other label"]:
            raise UserError(
                f"{row['example']}: is {label} in {urls[0]}, another class in {urls[1]}; compare like with like"
            )
    return found


def _replicates(both: DataFrame, labels: list[str]) -> list[bootstrap.Replicates]:
    """The figures of each report in each replicate."""
    rows = both.select("group", F.col("label a").alias("label"), *(f"right {side}" for side in SIDES))
    counted = add_up(rows.mapInArrow(spared(partial(_resample, labels)), SUMS)).toArrow()
    cells = [counted.filter(pc.equal(counted["cell"], k)) for k in range(len(SIDES))]
    return [bootstrap.replicates(sums_of(cell), len(labels)) for cell in cells]


def _resample(labels: list[str], batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The bootstrap's sums of each batch, a cell for each report; runs on the executors."""
    for batch in batches:
        truth: Ints = pc.index_in(batch["label"], value_set=pa.array(labels)).to_numpy().astype(np.int64)
        groups = batch["group"].to_pylist()
        for cell, side in enumerate(SIDES):
            right = batch[f"right {side}"].to_numpy(zero_copy_only=False).astype(bool)
            yield as_batch(cell, bootstrap.count(truth, right, groups))


def _figures(counts: Mapping[str, Mapping[str, int]], draws: list[bootstrap.Replicates]) -> dict[str, Any]:
    total = {name: sum(of[name] for of in counts.values()) for name in ("n", "a", "b", "only_a", "only_b")}
    shares = {
        "accuracy": [total[side] / total["n"] for side in SIDES],
        "balanced_accuracy": [mean([of[side] / of["n"] for of in counts.values()]) or 0.0 for side in SIDES],
    }
    a, b = draws
    found: dict[str, Any] = {"n": total["n"]}
    for name, (of_a, of_b) in shares.items():
        spread = bootstrap.interval(getattr(b, name) - getattr(a, name))
        found[name] = {"a": of_a, "b": of_b, "difference": of_b - of_a, "difference_ci95": spread}
    uneven = total["only_a"] + total["only_b"]
    p = float(binomtest(total["only_a"], uneven).pvalue) if uneven else 1.0
    return {**found, "mcnemar": {"only_a": total["only_a"], "only_b": total["only_b"], "p": p}}
