"""Who is trained on and who is held back: pure functions of ids, groups, classes and a seed."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermaspark.randomness import hash64

NOT_IN_FOLDS = "the published test photographs take no part in cross-validation"


@dataclass(frozen=True)
class Scheme:
    """How training photographs are divided."""

    validation: float  # the share of the training photographs that is held back for validation
    folds: int | None  # cross-validation: that many folds,
    fold: int  # of which this one is the test split
    seed: int


def positions(groups: NDArray[np.object_], seed: int, purpose: str) -> NDArray[np.float64]:
    """Where each photograph's group stands, in (0, 1), when the groups are laid out in a random order.

    A group takes room for each of its photographs and all of them get its middle, so cutting (0, 1) anywhere
    keeps groups whole and divides the photographs in proportion, as near as the groups allow.

    Args:
        groups: str (n,), the group of each photograph of one class, in any order.
        seed: the split's seed.
        purpose: 'validation' or 'fold': what is being cut.

    Returns:
        float64 (n,), a function of the set of (photograph, group) and the seed alone.
    """
    if not len(groups):
        return np.empty(0)
    names, inverse, sizes = np.unique(groups.astype(str), return_inverse=True, return_counts=True)
    order = np.argsort(np.array([hash64(seed, purpose, name) for name in names]), kind="stable")
    middle = np.empty(len(names))
    middle[order] = np.cumsum(sizes[order]) - sizes[order] / 2
    return (middle / len(groups))[inverse]


def assign(photographs: pd.DataFrame, scheme: Scheme) -> pd.DataFrame:
    """The split of each photograph of one class, and its place in the dataset.

    Args:
        photographs: columns id, group, given_split ('train' or 'test').

    Returns:
        columns id, split ('train', 'val', 'test', or null where cross-validation leaves a photograph out) and
        order (uniform in [0, 2**63): where it stands among the rows).
    """
    groups, split = (photographs[name].to_numpy(dtype=object) for name in ("group", "given_split"))
    split = split.copy()
    if scheme.folds:
        split[split == "test"] = None
        training = np.flatnonzero(split == "train")
        fold = np.floor(positions(groups[training], scheme.seed, "fold") * scheme.folds)
        split[training[fold == scheme.fold]] = "test"
    training = np.flatnonzero(split == "train")
    held_back = positions(groups[training], scheme.seed, "validation") < scheme.validation
    split[training[held_back]] = "val"
    order = [hash64(scheme.seed, "order", key) for key in photographs["id"]]
    return pd.DataFrame({"id": photographs["id"].to_numpy(), "split": split, "order": order})
