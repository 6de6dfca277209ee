"""Who is trained on and who is held back: pure functions of ids, groups, classes and a seed."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermaspark.randomness import generator, hash64

NOT_IN_FOLDS = "the published test photographs take no part in cross-validation"


@dataclass(frozen=True)
class Scheme:
    """How training photographs are divided."""

    validation: float  # the share of the training photographs that is held back for validation
    folds: int | None  # cross-validation: that many folds,
    fold: int  # of which this one is the test split
    seed: int


def deal(groups: NDArray[np.object_], shares: list[float], seed: int, purpose: str) -> NDArray[np.int64]:
    """Which of the parts, in proportion to `shares`, each photograph goes to, its whole group with it.

    The largest groups are dealt first, in a random order among those of one size, each to the part that would be
    the least full, for its share, at the group's middle: so each part gets its share of large groups and of small
    ones (Sainte-Lague's rule), and the small ones even out what the large ones left uneven.

    Args:
        groups: str (n,), the group of each photograph of one class, in any order.
        shares: of the photographs, of each part; they sum to 1.
        seed: the split's seed.
        purpose: 'validation' or 'fold': what is dealt for.

    Returns:
        int64 (n,), a function of the set of (photograph, group), the shares and the seed alone.
    """
    names, inverse, sizes = np.unique(groups.astype(str), return_inverse=True, return_counts=True)
    order = sorted(range(len(names)), key=lambda i: (-sizes[i], hash64(seed, purpose, str(names[i]))))
    # Which part comes first where several are equally empty: otherwise it would be the same one in every class.
    first = str(names[order[0]]) if order else ""
    parts = [int(i) for i in generator(seed, purpose, first).permutation(len(shares)) if shares[i]]
    full = [0] * len(shares)
    part_of = np.empty(len(names), np.int64)
    for i in order:
        middles = [(full[part] + sizes[i] / 2) / shares[part] for part in parts]
        part_of[i] = parts[middles.index(min(middles))]
        full[part_of[i]] += sizes[i]
    return part_of[inverse]


def divide(judged: pd.DataFrame, scheme: Scheme) -> pd.DataFrame:
    """`judged` with `split` and `order`, null where a photograph is left out; `reason` says why.

    Args:
        judged: what `policy.judge` gives of all photographs of one stratum, or of several.
    """
    kept = judged[judged["reason"].isna()]
    parts = [assign(of_stratum, scheme) for _, of_stratum in kept.groupby("stratum")]
    assigned = pd.concat([_NOBODY, *parts])
    divided = judged.merge(assigned, "left", on="id")
    not_in_folds = divided["reason"].isna() & divided["split"].isna()
    return divided.assign(reason=divided["reason"].mask(not_in_folds, NOT_IN_FOLDS))


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
        fold = deal(groups[training], [1 / scheme.folds] * scheme.folds, scheme.seed, "fold")
        split[training[fold == scheme.fold]] = "test"
    training = np.flatnonzero(split == "train")
    held_back = deal(groups[training], [1 - scheme.validation, scheme.validation], scheme.seed, "validation")
    split[training[held_back == 1]] = "val"
    order = [hash64(scheme.seed, "order", key) for key in photographs["id"]]
    return pd.DataFrame({"id": photographs["id"].to_numpy(), "split": split, "order": pd.array(order, "Int64")})


_NOBODY = pd.DataFrame({"id": [], "split": [], "order": pd.array([], "Int64")}).astype({"id": object, "split": object})
