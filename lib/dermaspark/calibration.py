"""Calibration: what a model's logits are divided and shifted by, fitted on rows that it did not learn from.

One temperature (Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", 2017) and a shift for each
class, as networks take rare classes for rarer than they are (Alexandari, Kundaje and Shrikumar, "Maximum likelihood
with bias-corrected calibration is hard-to-beat at label shift adaptation", 2020).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

TEMPERATURES = (0.25, 4.0)  # the lowest and the highest
STIFFNESS = 1.0  # of the shifts: their prior is a standard normal, so that a few rows of a class move it little

Floats = NDArray[np.float64]
Total = Callable[[Sequence[float]], Floats]  # each number's sum over all ranks


def calibrated(logs: Floats, temperature: float, shifts: Sequence[float] | Floats) -> Floats:
    """Probabilities (n, classes), rows that sum to 1, of log-probabilities (n, classes).

    They are divided by the temperature; then each class's `shifts` (classes,) is added.
    """
    scaled = logs / temperature + np.asarray(shifts)
    scores: Floats = np.exp(scaled - scaled.max(axis=1, keepdims=True, initial=-np.inf))
    scores /= scores.sum(axis=1, keepdims=True)
    return scores


def fit(logs: Floats, labels: NDArray[np.int32], total: Total) -> dict[str, Any]:
    """Temperature and shifts of the least log loss, and what the loss was without them; 1 and 0 without rows.

    Every rank calls it with its own rows and gets the same: logs (n, classes), labels (n,).
    """
    classes = logs.shape[1]
    rows = int(total([len(labels)])[0])
    if not rows:
        return {"temperature": 1.0, "shifts": [0.0] * classes, "rows": 0}

    def loss(scale_and_shifts: Floats) -> tuple[float, Floats]:
        """Summed log loss, the prior's part included, and its gradient; a convex function."""
        scale, shifts = scale_and_shifts[0], scale_and_shifts[1:]
        shares = calibrated(logs, 1 / scale, shifts)
        missed = shares - np.eye(classes)[labels]
        of_rows = -np.log(shares[np.arange(len(labels)), labels]).sum()
        summed = total([of_rows, (missed * logs).sum(), *missed.sum(axis=0)])
        prior = np.concatenate([[0.0], STIFFNESS * shifts])
        return float(summed[0] + prior[1:] @ shifts / 2), summed[1:] + prior

    start = np.concatenate([[1.0], np.zeros(classes)])
    bounds = [(1 / TEMPERATURES[1], 1 / TEMPERATURES[0]), *[(None, None)] * classes]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    scale, shifts = float(found.x[0]), found.x[1:]
    return {
        "temperature": 1 / scale,
        "shifts": shifts.tolist(),
        "rows": rows,
        "log_loss_before": loss(start)[0] / rows,
        "log_loss_after": float((found.fun - STIFFNESS * shifts @ shifts / 2) / rows),
    }
