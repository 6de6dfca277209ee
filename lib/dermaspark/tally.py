"""Adds up the figures of predictions in Spark; the driver gets figures alone, never a row a photograph."""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from dermaspark import abstaining, bootstrap, malignancy, metrics
from dermaspark.adding import SUMS, add_up, as_batch, sums_of
from dermaspark.errors import UserError
from dermaspark.facts import OTHER
from dermaspark.labels import Floats, Ints, LabelMap
from dermaspark.metrics import ALL, GIVEN, TRAINING, UNIFORM, UNKNOWN, Cell, Tally
from dermaspark.sparing import spared
from dermaspark.sums import NOT_FINITE, Quantity, Sums, added, count, joined, to_prior

log = logging.getLogger("dermaspark")

MAX_VALUES = 20  # a column with more values than this is no way to slice the photographs
MAX_NUMBERS = 10  # numbers with more values than this go by decade
WHOLE = ("curves", "set_aside", "clustered", "confidences")  # what there is of a whole split alone
FIGURES = "cell int, figures string" + "".join(f", {name} string" for name in WHOLE)  # all but cell are JSON


def tally(
    predictions: DataFrame,
    classes: Sequence[str],
    by: Sequence[str],
    prior: Sequence[float],
    *,
    given: Sequence[float] | None = None,
    label_map: LabelMap | None = None,
) -> Tally:
    """The figures of predictions: of each split, at each prior, and of each value of each column.

    predictions has `split`, `status`, `label`, `probabilities`, `group`, `id` and the columns `by`. It is read more
    than once, so give what is stored. Rows without figures are counted by reason (SET_ASIDE), but for photographs
    that could not be read before they had a split. With too many values in a column of `by`, the smaller ones of
    `source` are taken together, and another column is left out; numbers go by decade, and null is the value "unknown".
    A photograph without a group is one of its own. prior: each class's share in training, (classes,); given: the
    shares of another prior to give figures at. label_map: what the labels mean, by default each class is its own.
    Raises UserError when a probability is not finite.
    """
    of, slices = label_map or LabelMap.of_classes(classes), _slices(predictions, by)
    priors = {UNIFORM: np.ones(len(classes))} | ({} if given is None else {GIVEN: np.asarray(given)})
    rows = predictions.where("split is not null or status = 'ok'").select(
        F.coalesce("split", F.lit(UNKNOWN)).alias("split"),
        *("status", "label", F.col("probabilities").cast("array<double>").alias("probabilities")),
        F.coalesce("group", "id").alias("group"),
        *(value.alias(f"by {place}") for place, value in enumerate(slices.values())),
    )
    cells = _cells(rows, tuple(slices), tuple(priors))
    weights = {name: (np.asarray(prior), wanted) for name, wanted in priors.items()}
    counted = rows.mapInArrow(spared(partial(_count, of, tuple(slices), weights, cells)), SUMS)
    # PySpark reads the signature of what it applies, and fails on functools.partial: hence the lambda.
    divided = add_up(counted).groupBy("cell").applyInArrow(lambda key, part: _divide(key, part, of, cells), FIGURES)
    found = {cells[row["cell"]]: row for row in divided.collect()}
    whole = {cell.split: row for cell, row in found.items() if cell[1:] == (ALL, ALL, TRAINING)}
    result = Tally(
        classes=tuple(classes),
        figures={cell: json.loads(row["figures"]) for cell, row in found.items()},
        labels=of.names,
        **{name: {split: json.loads(row[name]) for split, row in whole.items()} for name in WHOLE},
    )
    _refuse_what_is_not_finite(result)
    return result


def _slices(predictions: DataFrame, by: Sequence[str]) -> dict[str, Column]:
    """The value (a string, never null) of each column that slices the photographs into few enough parts."""
    texts = {name: _text(name) for name in by}
    pairs = [F.struct(F.lit(name).alias("name"), text.alias("text")) for name, text in texts.items()]
    if not pairs:
        return {}
    values = predictions.select(F.explode(F.array(*pairs)).alias("pair")).select("pair.*").distinct()
    number = _number(F.col("text"))
    facts = values.groupBy("name").agg(
        F.count("text").alias("values"),
        F.countDistinct(_decade(number)).alias("decades"),
        (F.count(number) == F.count("text")).alias("numeric"),
    )
    slices = {}
    for row in facts.collect():
        text = texts[row["name"]]
        if row["numeric"] and row["values"] > MAX_NUMBERS and row["decades"] <= MAX_VALUES:
            slices[row["name"]] = _decade(_number(text))
        elif 0 < row["values"] <= MAX_VALUES:
            slices[row["name"]] = text
        elif row["name"] == "source":
            slices["source"] = _largest(predictions, text)
        elif row["values"]:
            log.warning("no figures by %s: it has %d values, more than %d", row["name"], row["values"], MAX_VALUES)
    return {name: F.coalesce(slices[name], F.lit(UNKNOWN)) for name in by if name in slices}


def _largest(predictions: DataFrame, text: Column) -> Column:
    """The MAX_VALUES - 1 most frequent values as they are, the others as OTHER."""
    sizes = predictions.groupBy(text.alias("text")).count().dropna().sort(F.desc("count"), "text")
    names = [row["text"] for row in sizes.limit(MAX_VALUES - 1).collect()]
    return F.when(text.isin(names), text).when(text.isNotNull(), F.lit(OTHER))


def _text(name: str) -> Column:
    """A column as a string; null where it is blank, NaN or said to be unknown."""
    text = F.col("`" + name.replace("`", "``") + "`").cast("string")
    return F.when(~F.lower(F.trim(text)).isin("", "nan", UNKNOWN), text)


def _number(text: Column) -> Column:
    """A string as a number; null where it is none, or too great for an age, a size or a year."""
    number = text.try_cast("double")
    return F.when(F.abs(number) < 1e9, number)


def _decade(number: Column) -> Column:
    low = F.floor(number / 10) * 10
    return F.concat(low.cast("string"), F.lit("-"), (low + 9).cast("string"))


def _cells(rows: DataFrame, columns: Sequence[str], priors: Sequence[str]) -> list[Cell]:
    """Every cell that has rows."""
    values = [F.struct(F.lit(name).alias("c"), F.col(f"by {k}").alias("v")) for k, name in enumerate(columns)]
    whole = F.struct(F.lit(ALL).alias("c"), F.lit(ALL).alias("v"))
    found = rows.select("split", F.explode(F.array(whole, *values)).alias("part")).distinct()
    named = found.select("split", "part.c", "part.v").collect()
    cells = [Cell(split, column, value, TRAINING) for split, column, value in named]
    return sorted([*cells, *(cell._replace(prior=prior) for cell in cells if cell.column == ALL for prior in priors)])


def _count(
    label_map: LabelMap,
    columns: tuple[str, ...],
    priors: Mapping[str, tuple[Floats, Floats]],
    cells: Sequence[Cell],
    batches: Iterable[pa.RecordBatch],
) -> Iterator[pa.RecordBatch]:
    """The sums of each batch of predictions by cell, as rows of SUMS; runs on the executors.

    priors: names of priors, with the shares of training and those wanted.
    """
    number = {cell: k for k, cell in enumerate(cells)}
    for batch in batches:
        truth, probabilities, reasons = _read(batch, label_map)
        for split, here in _places(batch["split"]):
            rows, aside = here & (reasons < 0), reasons[here & (reasons >= 0)]
            left = added(Quantity.SET_ASIDE, aside, np.zeros_like(aside))
            right = label_map.right[truth[rows], probabilities[rows].argmax(axis=1)]
            groups = batch["group"].filter(pa.array(rows)).to_pylist()
            resampled = bootstrap.count(truth[rows], right, groups)
            whole = joined(_sums(truth[rows], probabilities[rows], label_map), resampled, left)
            yield as_batch(number[Cell(split, ALL, ALL, TRAINING)], whole)
            for name, (training, wanted) in priors.items():
                shifted = _sums(truth[rows], to_prior(probabilities[rows], training, wanted), label_map)
                yield as_batch(number[Cell(split, ALL, ALL, name)], joined(shifted, left))
            for place, column in enumerate(columns):
                for value, there in _places(batch[f"by {place}"]):
                    if (part := rows & there).any():
                        cell = Cell(split, column, value, TRAINING)
                        yield as_batch(number[cell], _sums(truth[part], probabilities[part], label_map))


def _sums(truth: Ints, probabilities: Floats, label_map: LabelMap) -> Sums:
    return joined(count(truth, probabilities, label_map), malignancy.count(truth, probabilities, label_map))


def _read(batch: pa.RecordBatch, label_map: LabelMap) -> tuple[Ints, Floats, Ints]:
    """Truth (n,), probabilities (n, classes), why a row has no figures: an index into SET_ASIDE, or -1."""
    truth = pc.index_in(batch["label"], value_set=pa.array(label_map.names, pa.string()))
    truth = truth.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    unlabelled = pc.is_null(batch["label"]).to_numpy(zero_copy_only=False)
    scored = pc.equal(batch["status"], "ok").fill_null(False).to_numpy(zero_copy_only=False)
    usable = scored & (truth >= 0)
    classes = len(label_map.classes)
    probabilities = np.full((len(truth), classes), np.nan)
    values = pc.list_flatten(batch["probabilities"].filter(pa.array(usable)))
    probabilities[usable] = values.to_numpy(zero_copy_only=False).reshape(usable.sum(), classes)
    finite = np.isfinite(probabilities).all(axis=1)
    reasons = np.select([finite, ~scored, unlabelled, truth < 0], [-1, 0, 1, 2], default=3)
    return truth, probabilities, reasons


def _places(column: pa.Array) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Each value of a column and which rows have it."""
    encoded = column.dictionary_encode()
    codes = encoded.indices.to_numpy()
    for code, value in enumerate(encoded.dictionary.to_pylist()):
        yield value, codes == code


def _divide(key: tuple[pa.Scalar, ...], rows: pa.Table, label_map: LabelMap, cells: Sequence[Cell]) -> pa.Table:
    """The figures of one cell, as a row of FIGURES; runs on the executors."""
    number, sums = key[0].as_py(), sums_of(rows)
    documents = {"figures": metrics.figures(sums, label_map.classes, label_map)} | dict.fromkeys(WHOLE)
    if cells[number][1:] == (ALL, ALL, TRAINING):
        documents |= {
            "curves": metrics.curves(sums, label_map.names),
            "set_aside": metrics.set_aside(sums),
            "clustered": bootstrap.figures(sums, label_map.names),
            "confidences": abstaining.confidences(sums),
        }
    texts = {name: pa.array([json.dumps(of, allow_nan=False)]) for name, of in documents.items()}
    return pa.table({"cell": pa.array([number], pa.int32()), **texts})


def _refuse_what_is_not_finite(result: Tally) -> None:
    for split, reasons in result.set_aside.items():
        if n := reasons[NOT_FINITE]:
            raise UserError(
                f"the model gave {n} photographs of {split} probabilities that are not finite: "
                "it diverged in training; train it again with a lower train.learning_rate"
            )
