"""Who is trained on and who is held back: pure functions of ids, groups, classes and a seed."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermaspark.randomness import hash64


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


def assign(photographs: pd.DataFrame, validation: float, seed: int) -> pd.DataFrame:
    """The split of each photograph of one class.

    Args:
        photographs: columns id, group, given_split ('train' or 'test').
        validation: the share of the training photographs that is held back for validation.
        seed: the split's seed.

    Returns:
        columns id and split ('train', 'val' or 'test').
    """
    split = photographs["given_split"].to_numpy(dtype=object).copy()
    training = split == "train"
    held_back = positions(photographs["group"].to_numpy(dtype=object)[training], seed, "validation") < validation
    split[np.flatnonzero(training)[held_back]] = "val"
    return pd.DataFrame({"id": photographs["id"].to_numpy(), "split": split})
