"""The census of a dataset: its photographs and groups counted by class, split and reason, and what figures rest on."""

from typing import Any

import numpy as np
import pandas as pd

from dermaspark import policy
from dermaspark.config import Config
from dermaspark.dataset import SPLITS
from dermaspark.provenance import TABLE

BY = ["given_split", "class_name", "split", "reason", "leaked"]


def take_census(splits: pd.DataFrame) -> pd.DataFrame:
    """Photographs, and groups, by all that is counted of them: a row for each of BY.

    Args:
        splits: columns id, group and BY; a group is counted where the photograph is that it is named by.
    """
    return add_up(splits.assign(photographs=1, groups=(splits["id"] == splits["group"]).astype(np.int64)))


def add_up(counted: pd.DataFrame) -> pd.DataFrame:
    """Several parts of a census as one."""
    total = counted.groupby(BY, dropna=False, as_index=False)[["photographs", "groups"]].sum()
    return total.astype({"split": object, "reason": object}).where(total.notna(), None)


def count_by(census: pd.DataFrame, *columns: str) -> dict[Any, int]:
    """Photographs by the values of columns, sorted, where none of them is null."""
    counted = census.groupby(columns[0] if len(columns) == 1 else list(columns))["photographs"].sum()
    return {key: int(n) for key, n in counted.items()}


def count_classes(census: pd.DataFrame) -> dict[str, dict[str, int]]:
    result: dict[str, dict[str, int]] = {split: {} for split in SPLITS}
    for (split, name), n in count_by(census, "split", "class_name").items():
        result[split][name] = n
    return result


def count_given(census: pd.DataFrame) -> dict[tuple[str, str], int]:
    """Photographs by the split that their folder gives them and class: what the classes are taken from."""
    return count_by(census[census["reason"].isna()], "given_split", "class_name")


def protocol(census: pd.DataFrame, config: Config) -> dict[str, Any]:
    """What the figures rest on, for every report."""
    settings = config.split
    test = census[census["given_split"] == "test"]
    tested, leaked = int(test["photographs"].sum()), int(test["photographs"][test["leaked"]].sum())
    result = {
        "policy": settings.policy,
        "description": policy.DESCRIPTIONS[settings.policy],
        "grouped_by": grouped_by(config),
        "groups": int(census["groups"].sum()),
    }
    if settings.folds:
        result |= {"folds": settings.folds, "fold": settings.fold}
    if settings.policy != "as_published" and tested:
        result["test_photographs_sharing_a_group_with_training_as_published"] = leaked
        unclean = leaked if settings.policy == "keep" else 0
        result["share_of_test_photographs_that_are_clean"] = 1 - unclean / tested
    return result


def grouped_by(config: Config) -> list[str]:
    """What joins photographs into groups."""
    if config.split.policy == "as_published":
        return []
    return [
        "copies",
        *(["near copies"] * config.audit.near_copies),
        *([TABLE] * bool(config.input.groups)),
    ]
