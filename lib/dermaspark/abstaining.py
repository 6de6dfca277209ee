"""Abstaining: a confidence below which a prediction is not accepted, so that those accepted are wrong rarely enough."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dermaspark.sums import BINS, Quantity, Sums, log_odds_bin, lower_edge

FITTED_ON = ("val", "out_of_fold")  # the first of these splits that has photographs; never the test split

# What is known of one split: lists of equal length, an entry for each bin of confidence that is not empty, upwards.
Confidences = Mapping[str, list[int]]


def confidences(sums: Sums) -> dict[str, list[int]]:
    """Photographs, right ones and malignant ones taken for benign, by bin of confidence (at most BINS of them)."""
    names = {"n": Quantity.CONFIDENT, "right": Quantity.CORRECT, "missed": Quantity.MISSED}
    found = {name: sums.dense(quantity, 1, BINS)[0] for name, quantity in names.items()}
    used = np.flatnonzero(found["n"])
    return {"bin": used.tolist(), **{name: of[used].tolist() for name, of in found.items()}}


def fit(by_split: Mapping[str, Confidences], wanted_risk: float) -> dict[str, Any]:
    """The threshold that accepts the most photographs of the fitting split at no more than the wanted risk.

    A prediction is accepted when its confidence is the threshold or more; None where no threshold will do.
    """
    split = next((name for name in FITTED_ON if by_split.get(name, {}).get("n")), None)
    threshold = None if split is None else _threshold(by_split[split], wanted_risk)
    return {"wanted_risk": wanted_risk, "threshold": threshold, "fitted_on": split}


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


def _threshold(known: Confidences, wanted_risk: float) -> float | None:
    n, right = (np.cumsum(np.array(known[name])[::-1])[::-1] for name in ("n", "right"))
    low_enough = np.flatnonzero(n - right <= wanted_risk * n)
    return lower_edge(known["bin"][low_enough[0]]) if len(low_enough) else None
