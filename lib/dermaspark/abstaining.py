"""Abstaining: a confidence below which a prediction is not accepted, so that those accepted are wrong rarely enough."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dermaspark.labels import Floats, Ints
from dermaspark.sums import BINS, Quantity, Sums, log_odds_bin, lower_edge

FITTED_ON = ("val", "out_of_fold")  # the first of these splits that has photographs; never the test split

# What is known of one split: lists of equal length, an entry for each bin of confidence that is not empty, upwards.
Confidences = Mapping[str, list[int]]

# What a bundle keeps of its validation photographs: the least `threshold` of confidence at which the share of errors
# among those accepted is no more than `risk`. Lists of equal length, risks falling; empty where there were none.
Thresholds = Mapping[str, list[float]]


def confidences(sums: Sums) -> dict[str, list[int]]:
    """Photographs, right ones and malignant ones taken for benign, by bin of confidence (at most BINS of them)."""
    names = {"n": Quantity.CONFIDENT, "right": Quantity.CORRECT, "missed": Quantity.MISSED}
    found = {name: sums.dense(quantity, 1, BINS)[0] for name, quantity in names.items()}
    used = np.flatnonzero(found["n"])
    return {"bin": used.tolist(), **{name: of[used].tolist() for name, of in found.items()}}


def count(truth: Ints, probabilities: Floats) -> Ints:
    """Photographs and right ones by bin of confidence, int64 (2, BINS): what adds up over ranks.

    truth int (n,) class indices, probabilities (n, classes).
    """
    places, right = log_odds_bin(probabilities.max(axis=1)), probabilities.argmax(axis=1) == truth
    return np.stack([np.bincount(of, minlength=BINS) for of in (places, places[right])])


def thresholds(counted: Ints) -> dict[str, list[float]]:
    """The `Thresholds` of what `count` gave of validation photographs."""
    n, right = counted
    used = np.flatnonzero(n)
    return _thresholds({"bin": used.tolist(), "n": n[used].tolist(), "right": right[used].tolist()})


def fit(by_split: Mapping[str, Confidences], wanted_risk: float, known: Thresholds | None = None) -> dict[str, Any]:
    """The threshold that accepts the most photographs at no more than the wanted risk.

    On the validation photographs of training, where `known` is what the bundle keeps of them; else on the fitting
    split. A prediction is accepted when its confidence is the threshold or more; None where no threshold will do.
    """
    split: str | None = FITTED_ON[0]
    if known is None:
        split = next((name for name in FITTED_ON if by_split.get(name, {}).get("n")), None)
        known = _thresholds(by_split[split]) if split else {"risk": [], "threshold": []}
    low_enough = [place for place, risk in enumerate(known["risk"]) if risk <= wanted_risk]
    threshold = known["threshold"][low_enough[0]] if low_enough else None
    return {"wanted_risk": wanted_risk, "threshold": threshold, "fitted_on": split if known["risk"] else None}


def figures(known: Confidences, threshold: float | None, with_malignancy: bool) -> dict[str, Any] | None:
    """What becomes of one split's photographs at a threshold."""
    if threshold is None:
        return None
    bins, n, right, missed = (np.array(known[name], np.int64) for name in ("bin", "n", "right", "missed"))
    kept = bins >= log_odds_bin(np.array(threshold))
    total, accepted = int(n.sum()), int(n[kept].sum())
    return {
        "coverage": accepted / total if total else None,
        "risk": 1 - int(right[kept].sum()) / accepted if accepted else None,
        "missed_malignancies": int(missed[kept].sum()) if with_malignancy else None,
        "accepted": accepted,
        "n": total,
    }


def _thresholds(known: Confidences) -> dict[str, list[float]]:
    """Each threshold that brings a lower risk than all those below it."""
    bins = np.array(known["bin"], np.int64)
    n, right = (np.cumsum(np.array(known[name], np.int64)[::-1])[::-1] for name in ("n", "right"))
    risks = (n - right) / n
    lower = np.flatnonzero(risks < np.minimum.accumulate(np.concatenate([[np.inf], risks]))[:-1])
    # Half-way to the next confidence below, so that rounding moves no photograph across; the least accepts everything.
    edges = np.where(lower > 0, (bins[lower] + bins[lower - 1] + 1) // 2, 0)
    return {"risk": risks[lower].tolist(), "threshold": [lower_edge(int(edge)) for edge in edges]}
