"""Temperature scaling: one number that a model's logits are divided by, fitted on rows it did not learn from.

Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", 2017. The log loss at each of a row of
temperatures is a sum over photographs, so it can be added up over ranks.
"""

import numpy as np
from numpy.typing import NDArray

TEMPERATURES = np.geomspace(0.25, 4.0, 139)  # 2 % apart, and 1 among them

Floats = NDArray[np.float64]


def losses(logs: NDArray[np.float32], labels: NDArray[np.int32]) -> Floats:
    """The summed log loss at each temperature, (TEMPERATURES,), of log-probabilities (n, classes)."""
    found = np.empty(len(TEMPERATURES))
    for i, temperature in enumerate(TEMPERATURES):
        scaled = logs.astype(np.float64) / temperature
        scaled -= scaled.max(axis=1, keepdims=True, initial=-np.inf)
        found[i] = (np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(len(labels)), labels]).sum()
    return found


def tempered(logs: Floats, temperature: float) -> Floats:
    """Probabilities (n, classes), rows that sum to 1, of log-probabilities (n, classes) divided by a temperature."""
    scaled = logs / temperature
    scores: Floats = np.exp(scaled - scaled.max(axis=1, keepdims=True, initial=-np.inf))
    scores /= scores.sum(axis=1, keepdims=True)
    return scores


def best(summed: Floats, rows: int) -> dict[str, float | int]:
    """The temperature of the least log loss, and what the loss was without it; 1 where there are no rows."""
    if not rows:
        return {"temperature": 1.0, "rows": 0}
    least, plain = int(np.argmin(summed)), len(TEMPERATURES) // 2
    return {
        "temperature": float(TEMPERATURES[least]),
        "rows": rows,
        "log_loss_before": float(summed[plain] / rows),
        "log_loss_after": float(summed[least] / rows),
    }
