"""Malignant against benign: how many malignant photographs a model finds, and what that costs the others."""

from typing import Any

import numpy as np

from dermaspark.labels import Floats, Ints, LabelMap
from dermaspark.ratios import area_under_roc, ratio
from dermaspark.sums import BINS, Quantity, Sums, added, joined, log_odds_bin, lower_edge

WANTED_PERCENT = 95  # of the malignant photographs that a threshold has to find


def count(truth: Ints, probabilities: Floats, label_map: LabelMap) -> Sums:
    """Photographs by the bin of their malignant probability, and malignant ones taken for benign by confidence.

    truth int (n,) label indices, probabilities (n, classes). A photograph whose label may be either counts nowhere.
    """
    kind = label_map.kind[truth]
    places = log_odds_bin(probabilities[:, label_map.malignant].sum(axis=1))
    confidence = label_map.confidence(label_map.probabilities(probabilities), probabilities)
    missed = (kind == 1) & ~label_map.malignant[probabilities.argmax(axis=1)]
    zeros = np.zeros_like(truth)
    return joined(
        added(Quantity.MALIGNANT, zeros[kind == 1], places[kind == 1]),
        added(Quantity.BENIGN, zeros[kind == 0], places[kind == 0]),
        added(Quantity.MISSED, zeros[missed], log_odds_bin(confidence[missed])),
    )


def defined(label_map: LabelMap) -> bool:
    """Whether the model can tell malignant from benign, and labels say which is which."""
    kinds = set(label_map.kind.tolist())
    return bool(label_map.malignant.any() and not label_map.malignant.all() and kinds & {0, 1})


def figures(sums: Sums, confusion: Ints, label_map: LabelMap) -> dict[str, Any] | None:
    """Of one table of sums; confusion is (labels, classes). None where there are no such classes."""
    if not defined(label_map):
        return None
    malignant, benign = (sums.dense(q, 1, BINS)[0] for q in (Quantity.MALIGNANT, Quantity.BENIGN))
    calls = confusion[:, label_map.malignant].sum(axis=1)
    rest = confusion.sum(axis=1) - calls
    n_malignant, n_benign = int(malignant.sum()), int(benign.sum())
    place = _highest_bin(malignant)
    return {
        "classes": [name for name, bad in zip(label_map.classes, label_map.malignant, strict=True) if bad],
        "n_malignant": n_malignant,
        "n_benign": n_benign,
        "sensitivity": ratio(int(calls[label_map.kind == 1].sum()), n_malignant),
        "specificity": ratio(int(rest[label_map.kind == 0].sum()), n_benign),
        "auc": area_under_roc(malignant, benign),
        "specificity_at_95_sensitivity": None if place is None else ratio(int(benign[:place].sum()), n_benign),
        "threshold_at_95_sensitivity": None if place is None else lower_edge(place),
    }


def _highest_bin(malignant: Ints) -> int | None:
    """The highest bin such that the malignant probability is in it or above for 95 % of the malignant photographs."""
    n = int(malignant.sum())
    wanted = -(-WANTED_PERCENT * n // 100)
    above = np.cumsum(malignant[::-1])[::-1]
    return int(np.flatnonzero(above >= wanted)[-1]) if n else None
