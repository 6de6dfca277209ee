"""The split's promises: groups stay whole, classes keep their shares, and only ids and the seed decide."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dermaspark.split import Scheme, assign, deal
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

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
    held_back = deal(np.array([str(i) for i in range(n)], object), [0.85, 0.15], seed, "validation").sum()
    assert abs(held_back - 0.15 * n) <= 0.5


@given(st.lists(st.integers(2, 12), max_size=40), st.integers(0, 20), st.integers(2, 6))
def test_small_groups_even_out_what_large_ones_left_uneven(sizes, seed, folds):
    sizes = [*sizes, *[1] * 12 * folds]
    groups = np.repeat([str(i) for i in range(len(sizes))], sizes).astype(object)
    of_fold = np.bincount(deal(groups, [1 / folds] * folds, seed, "fold"), minlength=folds)
    assert of_fold.max() - of_fold.min() <= 1


@given(st.integers(0, 20))
def test_small_and_large_groups_are_held_back_alike(seed):
    sizes = np.repeat([10, 1], [40, 400])
    groups = np.repeat(np.arange(len(sizes)).astype(str), sizes).astype(object)
    held_back = deal(groups, [0.85, 0.15], seed, "validation") == 1
    assert held_back[:400].sum() == held_back[400:].sum() == 60


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


def divided(photographs: pd.DataFrame, scheme: Scheme) -> pd.DataFrame:
    """The photographs with their splits, class by class as preprocessing does it."""
    parts = [assign(of_class, scheme) for _, of_class in photographs.groupby("class_name")]
    return photographs.merge(pd.concat(parts), on="id")


def farthest_share(photographs: pd.DataFrame, whole: pd.DataFrame) -> float:
    """The most that a class' share of `photographs` differs from its share of `whole`."""
    these, those = (table["class_name"].value_counts(normalize=True) for table in (photographs, whole))
    return these.sub(those, fill_value=0).abs().max()


def check_folds(photographs: pd.DataFrame, seed: int) -> None:
    """No group on two sides, in one fold of five or in two, and class shares within 2 points of the whole."""
    tested = []
    for fold in range(5):
        split = divided(photographs, Scheme(0.15, 5, fold, seed))
        assert (split.groupby("group")["split"].nunique() == 1).all()
        tested.append(split[split["split"] == "test"])
        assert farthest_share(tested[-1], photographs) <= 0.02
        assert farthest_share(split[split["split"] == "val"], photographs) <= 0.02
    pooled = pd.concat(tested)
    assert sorted(pooled["id"]) == sorted(photographs["id"])
    assert (
        not pooled.assign(fold=np.repeat(range(5), list(map(len, tested))))
        .groupby("group")["fold"]
        .nunique()
        .gt(1)
        .any()
    )


@settings(max_examples=15)
@given(st.lists(st.lists(st.integers(1, 8), min_size=100, max_size=150), min_size=2, max_size=4), st.integers(0, 2**31))
def test_folds_keep_drawn_groups_whole_and_the_shares_of_classes(sizes, seed):
    names = [
        (f"class {c}", f"lesion {c}-{g}") for c, one in enumerate(sizes) for g, n in enumerate(one) for _ in range(n)
    ]
    photographs = pd.DataFrame(names, columns=["class_name", "group"]).assign(given_split="train")
    check_folds(photographs.assign(id=photographs.index.map("photo {}".format)), seed)


def real_set(variable: str) -> pd.DataFrame:
    """Training photographs of a real set, grouped by lesion and by the same bytes; of groups in one class alone."""
    if variable not in os.environ:
        pytest.skip(f"{variable} names no folder of photographs")
    folder = Path(os.environ[variable])
    lesions = pd.read_csv(folder / ("lesions.csv" if (folder / "lesions.csv").exists() else "metadata.csv"))
    lesion_of = dict(zip(lesions["image_id"], lesions["lesion_id"], strict=True))
    paths = sorted(folder.rglob("*.jpg"))
    tied_to = pd.Series([lesion_of.get(path.stem, path.stem) for path in paths] + [path.read_bytes() for path in paths])
    ties, n = pd.factorize(tied_to)[0], len(paths)
    links = coo_matrix((np.ones(2 * n), (np.tile(np.arange(n), 2), n + ties)), shape=(n + ties.max() + 1,) * 2)
    table = pd.DataFrame(
        {
            "id": [str(path) for path in paths],
            "group": connected_components(links, directed=False)[1][:n].astype(str),
            "class_name": [path.parent.name for path in paths],
            "given_split": ["test" if "Test" in path.parts else "train" for path in paths],
        }
    )
    sides = table.groupby("group")[["class_name", "given_split"]].transform("nunique").max(axis=1)
    return table[(sides == 1) & (table["given_split"] == "train")]


@pytest.mark.parametrize("variable", ["DERMASPARK_ISIC9", "DERMASPARK_HAM10000"])
def test_no_real_lesion_stands_on_two_sides_and_every_class_keeps_its_share(variable):
    photographs = real_set(variable)
    assert len(photographs) > 1000 and photographs["group"].nunique() < len(photographs)
    for seed in range(20):
        check_folds(photographs, seed)
        split = divided(photographs, Scheme(0.15, None, 0, seed))
        assert (split.groupby("group")["split"].nunique() == 1).all()
        assert farthest_share(split[split["split"] == "val"], photographs) <= 0.02
