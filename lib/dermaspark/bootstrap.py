"""Intervals that know of lesions: a bootstrap over groups of photographs, from counts that add up in any order.

In each replicate a group weighs a number drawn from Poisson(1), by its name alone, so that no machine needs to know
of another's photographs (Chamandy et al., "Estimating Uncertainty for Massive Data Streams", 2012).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array

from dermaspark.labels import Floats, Ints
from dermaspark.randomness import generator
from dermaspark.sums import Quantity, Sums, added, joined

REPLICATES = 500
SEED = 0  # the same for every report, so that two of them are drawn alike and can be compared
PERCENTILES = (2.5, 97.5)


class Replicates(NamedTuple):
    """Figures of each replicate; nan where it has no photograph for one."""

    accuracy: Floats  # (REPLICATES,)
    balanced_accuracy: Floats  # (REPLICATES,)
    sensitivity: Floats  # (labels, REPLICATES)


def weights(groups: Sequence[str]) -> Ints:
    """How often each group counts in each replicate, (groups, REPLICATES)."""
    drawn = [generator(SEED, "bootstrap", group).poisson(1.0, REPLICATES) for group in groups]
    return np.array(drawn, np.int64).reshape(len(groups), REPLICATES)


def count(truth: Ints, right: NDArray[np.bool_], groups: Sequence[str]) -> Sums:
    """Photographs, and those that were predicted right, by label and replicate; each argument is (n,) long."""
    names, place = np.unique(np.asarray(groups, object), return_inverse=True)
    labels, drawn = int(truth.max(initial=-1)) + 1, weights(names.tolist())
    parts = []
    for quantity, chosen in ((Quantity.RESAMPLED, np.ones_like(right)), (Quantity.RESAMPLED_RIGHT, right)):
        where = (truth[chosen], place[chosen])
        members = coo_array((np.ones(chosen.sum(), np.int64), where), shape=(labels, len(names)))
        resampled = members.tocsr() @ drawn
        i, j = np.nonzero(resampled)
        parts.append(added(quantity, i, j, resampled[i, j]))
    return joined(*parts)


def replicates(sums: Sums, labels: int) -> Replicates:
    n, right = (sums.dense(q, labels, REPLICATES) for q in (Quantity.RESAMPLED, Quantity.RESAMPLED_RIGHT))
    sensitivity = _ratio(right, n)
    known = n > 0
    balanced = _ratio(np.where(known, sensitivity, 0).sum(axis=0), known.sum(axis=0))
    return Replicates(_ratio(right.sum(axis=0), n.sum(axis=0)), balanced, sensitivity)


def figures(sums: Sums, names: Sequence[str]) -> dict[str, Any]:
    """95 % intervals of accuracy, balanced accuracy and, by label, sensitivity.

    None where there is none, and where all photographs are right, or all wrong: a bootstrap draws from these alone,
    and would call that certain.
    """
    found = replicates(sums, len(names))
    return {
        "accuracy": _of_share(found.accuracy),
        "balanced_accuracy": _of_share(found.balanced_accuracy),
        "sensitivity": {name: _of_share(of) for name, of in zip(names, found.sensitivity, strict=True)},
    }


def interval(values: Floats) -> list[float] | None:
    """The middle 95 % of the replicates that have a value; None where none has."""
    known = values[np.isfinite(values)]
    return np.percentile(known, PERCENTILES).tolist() if len(known) else None


def _of_share(values: Floats) -> list[float] | None:
    found = interval(values)
    return None if found in ([0.0, 0.0], [1.0, 1.0]) else found


def _ratio(part: Ints | Floats, whole: Ints) -> Floats:
    found: Floats = np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
    return found
