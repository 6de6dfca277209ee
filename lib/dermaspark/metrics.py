"""Every figure of metrics.json, from sums over photographs, and the curves that a report draws."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dermaspark import abstaining, malignancy
from dermaspark.intervals import wilson
from dermaspark.labels import Floats, Ints, LabelMap
from dermaspark.ratios import area_under_roc, average_precision, mean, ratio
from dermaspark.sums import BINS, SET_ASIDE, UNITS, Quantity, Sums

ALL = ""  # column and value of the cell that holds every photograph of a split
TRAINING, UNIFORM, GIVEN = "training", "uniform", "given"  # the priors that probabilities are taken at
UNKNOWN = "unknown"  # the value of a column where a photograph has none
ECE_BINS = 15
ROC_POINTS, COVERAGE_POINTS = 200, 100
SPLITS = ("train", "val", "test", "out_of_fold", "outside")


class Cell(NamedTuple):
    """Which photographs a table of sums is about, and the prior that their probabilities are taken at."""

    split: str
    column: str
    value: str
    prior: str


@dataclass(frozen=True)
class Tally:
    """All that is known of a set of predictions."""

    classes: tuple[str, ...]
    figures: Mapping[Cell, Mapping[str, Any]]  # as `figures` gives them
    curves: Mapping[str, Mapping[str, Any]]  # by split, as `curves` gives them
    set_aside: Mapping[str, Mapping[str, int]]  # by split: photographs without figures, by reason
    labels: tuple[str, ...] | None = None  # of the photographs, where they are not the classes
    clustered: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by split, as `bootstrap.figures`
    confidences: Mapping[str, abstaining.Confidences] = field(default_factory=dict)  # by split

    @property
    def splits(self) -> list[str]:
        found = {cell.split for cell in self.figures}
        return [name for name in SPLITS if name in found] + sorted(found.difference(SPLITS))


def document(
    tally: Tally,
    *,
    dataset: Mapping[str, Any],
    model: Mapping[str, Any],
    protocol: Any,
    created: str,
    wanted_risk: float | None = None,
    thresholds: abstaining.Thresholds | None = None,
) -> dict[str, Any]:
    """What metrics.json holds; dataset, model and protocol go in as they are (JSON values).

    wanted_risk: of the photographs accepted, when the model may abstain; without it nothing is said of that.
    thresholds: of confidence, as the model's bundle keeps them; without them one is fitted on the predictions.
    """
    fitted = None if wanted_risk is None else abstaining.fit(tally.confidences, wanted_risk, thresholds)
    return {
        "created": created,
        "dataset": dataset,
        "model": model,
        "protocol": protocol,
        "classes": list(tally.classes),
        "abstaining": fitted,
        "splits": {split: _of_split(tally, split, fitted) for split in tally.splits},
    }


def _of_split(tally: Tally, split: str, fitted: Mapping[str, Any] | None) -> dict[str, Any]:
    by: dict[str, dict[str, Any]] = {}
    for cell in sorted(tally.figures, key=_reading_order):
        if cell.split == split and cell.column != ALL:
            by.setdefault(cell.column, {})[cell.value] = tally.figures[cell]
    whole = {cell.prior: of for cell, of in tally.figures.items() if cell[:3] == (split, ALL, ALL)}
    accepted = None
    if fitted and split in tally.confidences:
        defined = whole[TRAINING]["malignancy"] is not None
        accepted = abstaining.figures(tally.confidences[split], fitted["threshold"], defined)
    return {
        **whole[TRAINING],
        "rows": list(tally.labels or tally.classes),  # of the confusion matrix
        "columns": list(tally.classes),
        "clustered_ci95": tally.clustered.get(split),
        "abstaining": accepted,
        "risk_coverage": {name: of[9::10] for name, of in tally.curves[split]["risk_coverage"].items()},
        "set_aside": tally.set_aside[split],
        "by": by,
        "priors": {prior: whole[prior] for prior in (UNIFORM, GIVEN) if prior in whole},
    }


def _reading_order(cell: Cell) -> tuple[Any, ...]:
    """The source first; numbers by size, then names, and what is unknown last."""
    number = re.match(r"-?\d+", cell.value)
    size = float(number[0]) if number else np.inf
    return cell.column != "source", cell.column, cell.value == UNKNOWN, size, cell.value


def set_aside(sums: Sums) -> dict[str, int]:
    """The photographs without figures, by reason."""
    counts = sums.dense(Quantity.SET_ASIDE, len(SET_ASIDE), 1)[:, 0]
    return dict(zip(SET_ASIDE, counts.tolist(), strict=True))


def figures(sums: Sums, classes: Sequence[str], label_map: LabelMap | None = None) -> dict[str, Any]:
    """All figures of one table of sums; a figure that is not defined is None.

    classes: the model's; label_map: what the photographs' labels mean, by default each class is its own.
    """
    of = label_map or LabelMap.of_classes(classes)
    labels = len(of.names)
    confusion = sums.dense(Quantity.CONFUSION, labels, len(classes))
    positives, negatives = (sums.dense(q, labels, BINS) for q in (Quantity.POSITIVE, Quantity.NEGATIVE))
    n, right = int(confusion.sum()), int(confusion[of.right].sum())
    per_class = {
        name: _label_figures(confusion, k, of.right[k], positives[k], negatives[k]) for k, name in enumerate(of.names)
    }
    interval = wilson(right, n)
    return {
        "n": n,
        "accuracy": ratio(right, n),
        "accuracy_ci95": list(interval) if interval else None,
        "balanced_accuracy": mean([of["sensitivity"] for of in per_class.values()]),
        "macro_auc": mean([of["auc"] for of in per_class.values()]),
        "macro_average_precision": mean([of["average_precision"] for of in per_class.values()]),
        "log_loss": ratio(_total(sums, Quantity.LOG_LOSS), n),
        "brier": ratio(_total(sums, Quantity.BRIER), n),
        "ece": _ece(sums),
        "accuracy_at_80_coverage": _accuracy_at(sums, 0.8),
        "malignancy": malignancy.figures(sums, confusion, of),
        "confusion_matrix": confusion.tolist(),
        "per_class": per_class,
    }


def _label_figures(
    confusion: Ints, k: int, right: NDArray[np.bool_], positives: Ints, negatives: Ints
) -> dict[str, Any]:
    """Of the label k, for which the classes `right` (classes,) are right."""
    hits, truths, calls = int(confusion[k, right].sum()), int(confusion[k].sum()), int(confusion[:, right].sum())
    others = int(confusion.sum()) - truths
    return {
        "n": truths,
        "sensitivity": ratio(hits, truths),
        "specificity": ratio(others - (calls - hits), others),
        "precision": ratio(hits, calls),
        "f1": ratio(2 * hits, truths + calls) if truths else None,
        "auc": area_under_roc(positives, negatives),
        "average_precision": average_precision(positives, negatives),
    }


def curves(sums: Sums, labels: Sequence[str]) -> dict[str, Any]:
    """What a report draws beside the figures: ROC by label, reliability, risk by coverage."""
    return {
        "roc": _roc(sums, labels),
        "reliability": _reliability(sums),
        "risk_coverage": _risk_coverage(sums),
    }


def _roc(sums: Sums, labels: Sequence[str]) -> dict[str, dict[str, list[float]]]:
    """Of each label with positives and negatives: its two rates, at ROC_POINTS points or fewer."""
    quantities = (Quantity.POSITIVE, Quantity.NEGATIVE)
    positives, negatives = (sums.dense(quantity, len(labels), BINS) for quantity in quantities)
    found = {}
    for name, with_class, without in zip(labels, positives, negatives, strict=True):
        if with_class.any() and without.any():
            true, false = (np.concatenate([[0], np.cumsum(of[::-1]) / of.sum()]) for of in (with_class, without))
            kept = np.unique(np.searchsorted(true + false, np.linspace(0, 2, ROC_POINTS)))
            found[name] = {
                "false_positive_rate": false[kept].tolist(),
                "true_positive_rate": true[kept].tolist(),
            }
    return found


def _reliability(sums: Sums) -> list[dict[str, float]]:
    """Bins of equal mass, from the least confident on: photographs, mean confidence, accuracy."""
    n, _, _ = cumulative = _by_confidence(sums)
    total = int(n[-1])
    sizes = np.array([total // ECE_BINS + (k < total % ECE_BINS) for k in range(ECE_BINS)])
    edges = np.concatenate([[0], np.cumsum(sizes[sizes > 0])])
    mass, right, confidence = (np.diff(np.interp(edges, n, of)) for of in cumulative)
    return [
        {"n": float(m), "confidence": float(c / m), "accuracy": float(r / m)}
        for m, r, c in zip(mass, right, confidence, strict=True)
    ]


def _ece(sums: Sums) -> float | None:
    """The mean distance of accuracy from confidence over bins of equal mass."""
    bins = _reliability(sums)
    return ratio(sum(of["n"] * abs(of["accuracy"] - of["confidence"]) for of in bins), sum(of["n"] for of in bins))


def _risk_coverage(sums: Sums) -> dict[str, list[float]]:
    """The share of errors among the most confident photographs, by the share of photographs accepted."""
    n, right, _ = _by_confidence(sums)
    coverage = np.arange(1, COVERAGE_POINTS + 1) / COVERAGE_POINTS
    return {"coverage": coverage.tolist(), "risk": _share_of_surest(n - right, n, coverage).tolist()} if n[-1] else {}


def _accuracy_at(sums: Sums, coverage: float) -> float | None:
    """The accuracy on the most confident photographs, so large a share of all; None without any."""
    n, right, _ = _by_confidence(sums)
    return float(_share_of_surest(right, n, np.array(coverage))) if n[-1] else None


def _share_of_surest(counted: Floats, n: Floats, coverage: Floats) -> Floats:
    """Of the most confident photographs, for each share of all, the share that was counted.

    Both counts as from `_by_confidence`. Where the last of them are equally confident, all of those count in part.
    """
    accepted = coverage * n[-1]
    return np.asarray((counted[-1] - np.interp(n[-1] - accepted, n, counted)) / accepted)


def _by_confidence(sums: Sums) -> tuple[Floats, Floats, Floats]:
    """Photographs, right ones and summed confidence up to each bin that is not empty, from 0 on."""
    n, right, units = (sums.dense(q, 1, BINS)[0] for q in (Quantity.CONFIDENT, Quantity.CORRECT, Quantity.CONFIDENCE))
    used = np.flatnonzero(n)
    n, right, confidence = (np.concatenate([[0.0], np.cumsum(of[used]).astype(float)]) for of in (n, right, units))
    return n, right, confidence / UNITS


def _total(sums: Sums, quantity: Quantity) -> float:
    return float(sums.dense(quantity, 1, 1)[0, 0] / UNITS)
