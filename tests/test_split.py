"""The split's promises: groups stay whole, classes keep their shares, and only ids and the seed decide."""

import numpy as np
import pandas as pd
from dermaspark.split import Scheme, assign, positions
from hypothesis import given
from hypothesis import strategies as st

GROUPS = st.lists(st.integers(0, 30), min_size=1, max_size=200)


def table(groups):
    return pd.DataFrame(
        {
            "id": [f"photo-{i}" for i in range(len(groups))],
            "group": [f"lesion-{g}" for g in groups],
            "given_split": "train",
        }
    )


@given(GROUPS, st.integers(0, 20), st.floats(0, 0.9))
def test_no_group_stands_on_two_sides(groups, seed, share):
    photographs = table(groups)
    split = photographs.merge(assign(photographs, Scheme(share, None, 0, seed)), on="id")
    assert (split.groupby("group")["split"].nunique() == 1).all()


@given(GROUPS, st.integers(0, 5), st.randoms())
def test_the_order_of_the_rows_decides_nothing(groups, seed, random):
    photographs = table(groups)
    shuffled = photographs.sample(frac=1, random_state=random.randrange(2**31))
    first, second = (assign(t, Scheme(0.3, None, 0, seed)).set_index("id")["split"] for t in (photographs, shuffled))
    assert first.sort_index().equals(second.sort_index())


@given(st.integers(1, 500), st.integers(0, 20))
def test_single_photographs_are_divided_to_the_nearest_one(n, seed):
    held_back = (positions(np.array([str(i) for i in range(n)], object), seed, "validation") < 0.15).sum()
    assert abs(held_back - 0.15 * n) <= 0.5


def test_another_seed_is_another_split():
    photographs = table(range(200))
    splits = [assign(photographs, Scheme(0.3, None, 0, seed))["split"].tolist() for seed in (0, 1)]
    assert splits[0] != splits[1]


def test_test_photographs_stay_test_photographs():
    photographs = table(range(50))
    photographs.loc[:9, "given_split"] = "test"
    split = assign(photographs, Scheme(0.5, None, 0, 0))["split"]
    assert (split[:10] == "test").all() and set(split[10:]) == {"train", "val"}


@given(GROUPS, st.integers(0, 20), st.integers(2, 6))
def test_every_photograph_is_tested_in_one_fold_and_no_group_in_two(groups, seed, folds):
    photographs = table(groups)
    tested = pd.DataFrame(index=photographs["id"])
    for fold in range(folds):
        split = photographs.merge(assign(photographs, Scheme(0.2, folds, fold, seed)), on="id")
        assert (split.groupby("group")["split"].nunique() == 1).all()
        tested[fold] = (split.set_index("id")["split"] == "test").astype(int)
    assert (tested.sum(axis=1) == 1).all()


@given(st.integers(20, 400), st.integers(0, 20))
def test_folds_of_single_photographs_differ_by_one_at_most(n, seed):
    sizes = [(assign(table(range(n)), Scheme(0, 5, fold, seed))["split"] == "test").sum() for fold in range(5)]
    assert max(sizes) - min(sizes) <= 1


def test_published_test_photographs_take_no_part_in_folds():
    photographs = table(range(50))
    photographs.loc[:9, "given_split"] = "test"
    split = assign(photographs, Scheme(0.2, 5, 0, 0))["split"]
    assert split[:10].isna().all()
    assert split[10:].notna().all()
