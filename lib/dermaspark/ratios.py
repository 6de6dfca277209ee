"""Figures that are ratios of counts: None where they are not defined."""

from collections.abc import Sequence

import numpy as np

from dermaspark.labels import Ints


def ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def mean(values: Sequence[float | None]) -> float | None:
    """Of those that are defined."""
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def area_under_roc(positives: Ints, negatives: Ints) -> float | None:
    """The share of pairs of a positive and a negative that stand in the right order; a tie is half right.

    Both are histograms over the bins of a probability, from the lowest on.
    """
    twice_below = 2 * np.cumsum(negatives) - negatives
    return ratio(float(positives @ twice_below) / 2, float(positives.sum()) * float(negatives.sum()))


def average_precision(positives: Ints, negatives: Ints) -> float | None:
    """Precision at each threshold, weighted by the recall that it adds (as scikit-learn has it)."""
    found = np.flatnonzero(positives)[::-1]
    hits, calls = np.cumsum(positives[found]), np.cumsum((positives + negatives)[::-1])[::-1][found]
    return ratio(float((positives[found] * hits / calls).sum()), int(positives.sum()))
