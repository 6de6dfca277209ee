"""The canary: how well facts that are not the lesion tell the classes, which a network could learn instead."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold

FEATURES = ("width", "height", "bytes", "jpeg_quality", "red", "green", "blue")
FOLDS = 5
TREES = 40
SMALLEST_LEAF = 5  # photographs


@dataclass(frozen=True)
class Score:
    balanced_accuracy: float
    chance: float  # what guessing reaches


def canary(sample: pd.DataFrame, seed: int = 0) -> dict[str, Score] | None:
    """How well the classes are told by all FEATURES together ('all') and by each alone.

    Balanced accuracy of a random forest that weighs the classes alike, each photograph predicted by the
    forest of the folds without its group. None where fewer than two classes have two groups.

    Args:
        sample: columns class_name, group and FEATURES (null where a photograph has none), one row a photograph.
    """
    groups = sample.groupby("class_name")["group"].nunique()
    kept = sample[sample["class_name"].isin(groups.index[groups >= 2])].sort_values("id", ignore_index=True)
    if kept["class_name"].nunique() < 2:
        return None
    folds = _folds(kept, seed)
    table = kept[list(FEATURES)].astype(float).fillna(-1.0)
    subsets = {"all": list(FEATURES), **{name: [name] for name in FEATURES}}
    classes = kept["class_name"].to_numpy(dtype=str)
    return {name: _score(table[columns].to_numpy(), classes, folds, seed) for name, columns in subsets.items()}


def cramers_v(counts: NDArray[np.int64]) -> float | None:
    """The association of a table's rows and columns, 0 to 1, corrected for bias (Bergsma, 2013).

    Args:
        counts: int (sources, classes). None where fewer than two rows or columns have any, and where each photograph
            has a row or a column of its own: any table of that kind would look associated.
    """
    table = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0].astype(float)
    n, (rows, columns) = table.sum(), table.shape
    if min(rows, columns) < 2:
        return None
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / n
    phi2 = ((table - expected) ** 2 / expected).sum() / n
    corrected = max(0.0, phi2 - (rows - 1) * (columns - 1) / (n - 1))
    smaller = min((side - 1) * (n - side) for side in (rows, columns)) / (n - 1)
    return float(np.sqrt(corrected / smaller)) if smaller else None


def balanced_accuracy_of_source(counts: NDArray[np.int64]) -> float:
    """Balanced accuracy of naming, for each source, the class with the largest share of its photographs there.

    Args:
        counts: int (sources, classes).
    """
    totals = counts.sum(axis=0)
    shares = counts[:, totals > 0] / totals[totals > 0]
    return float(shares.max(axis=1).sum() / shares.shape[1])


def _folds(table: pd.DataFrame, seed: int) -> NDArray[np.int64]:
    """The fold of each row: groups whole, classes in proportion."""
    smallest = int(table.groupby("class_name")["group"].nunique().min())
    splitter = StratifiedGroupKFold(min(FOLDS, smallest), shuffle=True, random_state=seed)
    fold = np.empty(len(table), np.int64)
    for number, (_, held_out) in enumerate(splitter.split(table, table["class_name"], table["group"])):
        fold[held_out] = number
    return fold


def _score(features: NDArray[np.float64], classes: NDArray[np.str_], folds: NDArray[np.int64], seed: int) -> Score:
    predicted = np.empty_like(classes)
    for fold in np.unique(folds):
        forest = RandomForestClassifier(
            TREES, min_samples_leaf=SMALLEST_LEAF, class_weight="balanced", random_state=seed
        )
        forest.fit(features[folds != fold], classes[folds != fold])
        predicted[folds == fold] = forest.predict(features[folds == fold])
    chance = 1 / len(np.unique(classes))
    return Score(float(balanced_accuracy_score(classes, predicted)), chance)
