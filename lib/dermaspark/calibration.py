"""Calibration: what a model's logits are divided and shifted by, fitted on rows that it did not learn from.

One temperature (Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", 2017) and a shift for each
class, as networks take rare classes for rarer than they are (Alexandari, Kundaje and Shrikumar, "Maximum likelihood
with bias-corrected calibration is hard-to-beat at label shift adaptation", 2020).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

TEMPERATURES = (0.25, 4.0)  # the lowest and the highest
STIFFNESS = 1.0  # of the shifts: their prior is a standard normal, so that a few rows of a class move it little

Floats = NDArray[np.float64]
Total = Callable[[Sequence[float]], Floats]  # each number's sum over all ranks


def calibrated(logs: Floats, temperature: float, shifts: Sequence[float] | Floats) -> Floats:
    """Probabilities (n, classes), rows that sum to 1, of log-probabilities (n, classes).

    They are divided by the temperature; then each class's `shifts` (classes,) is added.
    """
    return np.exp(_normalised(logs / temperature + np.asarray(shifts)))


def fit(logs: Floats, labels: NDArray[np.int32], total: Total, leads: bool = True) -> dict[str, Any]:
    """Temperature and shifts of the least log loss, and what the loss was without them; 1 and 0 without rows.

    Every rank calls it with its own rows and gets the same: logs (n, classes), labels (n,). One of them leads: it
    alone searches, so that hosts whose arithmetic differs in a last bit can't part ways.
    """
    classes = logs.shape[1]
    rows = int(total([len(labels)])[0])
    if not rows:
        return {"temperature": 1.0, "shifts": [0.0] * classes, "rows": 0}

    def told(point: Floats | None) -> Floats | None:
        """The summed log loss and its gradient at the leader's point; None, on every rank, when it has none."""
        goes_on, *place = total([0.0] * (classes + 2) if point is None else [1.0, *point])
        if not goes_on:
            return None
        logits = _normalised(logs * place[0] + np.asarray(place[1:]))
        losses = -logits[np.arange(len(labels)), labels]
        missed = np.exp(logits) - np.eye(classes)[labels]
        return total([losses.sum(), (missed * logs).sum(), *missed.sum(axis=0)])

    found = np.zeros(classes + 3)
    if leads:
        found = _search(told, classes)
        told(None)
    else:
        while told(None) is not None:
            pass
    before, after, scale, *shifts = total(found.tolist()).tolist()
    losses = {"log_loss_before": before / rows, "log_loss_after": after / rows}
    return {"temperature": 1 / scale, "shifts": shifts, "rows": rows, **losses}


def _normalised(logits: Floats) -> Floats:
    """Logits (n, classes) to log-probabilities. SciPy's log_softmax would take a job a third of a second to import."""
    return np.asarray(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True), np.float64)


def _search(told: Callable[[Floats | None], Floats | None], classes: int) -> Floats:
    """Log loss at the start and at the end, and where that is: the logits' scale and the shifts."""
    from scipy.optimize import minimize  # two thirds of a second, which every driver would take to start

    losses: list[float] = []

    def objective(point: Floats) -> tuple[float, Floats]:
        """With the prior's part; a convex function."""
        loss, *gradient = np.asarray(told(point))
        losses.append(loss)
        prior = np.concatenate([[0.0], STIFFNESS * point[1:]])
        return float(loss + prior @ point / 2), np.asarray(gradient) + prior

    start = np.concatenate([[1.0], np.zeros(classes)])
    bounds = [(1 / TEMPERATURES[1], 1 / TEMPERATURES[0]), *[(None, None)] * classes]
    end = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    objective(end)
    return np.array([losses[0], losses[-1], *end])
