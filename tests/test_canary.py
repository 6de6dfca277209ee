"""The canary sings where something other than the lesion tells the classes, and there alone."""

import numpy as np
import pandas as pd
import pytest
from dermaspark.canary import FEATURES, balanced_accuracy_of_source, canary, cramers_v


def sample(n: int = 300, classes: int = 3, seed: int = 0) -> pd.DataFrame:
    """`n` photographs of each class, their facts drawn alike for all classes."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({name: rng.normal(100, 10, n * classes) for name in FEATURES})
    table["class_name"] = np.repeat([f"class {i}" for i in range(classes)], n)
    table["id"] = table["group"] = [f"{i:05d}" for i in range(len(table))]
    return table


def test_facts_that_say_nothing_are_at_chance():
    scores = canary(sample())
    assert set(scores) == {"all", *FEATURES}
    for score in scores.values():
        assert score.chance == pytest.approx(1 / 3)
        assert score.balanced_accuracy == pytest.approx(1 / 3, abs=0.06)


def test_a_camera_that_tells_the_class_is_named():
    table = sample()
    table["jpeg_quality"] = np.where(table["class_name"] == "class 0", 75, 90)
    scores = canary(table)
    assert scores["jpeg_quality"].balanced_accuracy == pytest.approx(2 / 3, abs=0.01)
    assert scores["all"].balanced_accuracy > 0.6
    assert scores["width"].balanced_accuracy < 0.45


def test_a_photograph_is_not_predicted_from_its_copies():
    """Eight copies each, without signal: a forest that saw a copy would name the class from its bytes."""
    copies = pd.concat([sample(30)] * 8, ignore_index=True)
    copies["id"] = [f"{i:05d}" for i in range(len(copies))]
    assert canary(copies)["all"].balanced_accuracy < 0.5
    alone = canary(copies.assign(group=copies["id"]))
    assert alone["all"].balanced_accuracy > 0.9


def test_a_rare_class_weighs_as_much_as_the_others():
    table = pd.concat([sample(400, 1), sample(20, 1, seed=1).assign(class_name="rare", width=500.0)])
    table["id"] = table["group"] = [f"{i:05d}" for i in range(len(table))]
    assert canary(table)["width"].balanced_accuracy > 0.95


def test_it_is_the_same_each_time_in_any_order():
    table = sample(60)
    assert canary(table) == canary(table.sample(frac=1, random_state=3))


def test_facts_that_a_format_lacks_are_no_obstacle():
    table = sample(40)
    table.loc[::2, "jpeg_quality"] = np.nan
    assert canary(table) is not None


def test_classes_of_one_group_are_left_out():
    table = sample(50)
    table.loc[table["class_name"] == "class 2", "group"] = "one"
    assert canary(table)["all"].chance == pytest.approx(1 / 2)
    table["group"] = table["class_name"]
    assert canary(table) is None


def test_cramers_v_is_1_where_the_source_tells_the_class_and_0_where_it_does_not():
    assert cramers_v(np.array([[500, 0], [0, 300]])) == pytest.approx(1, abs=0.01)
    assert cramers_v(np.array([[500, 100], [250, 50]])) == pytest.approx(0, abs=0.01)
    assert cramers_v(np.array([[500, 100], [0, 0]])) is None


@pytest.mark.parametrize("n", [2, 7, 30, 1000])
def test_sources_or_classes_of_one_photograph_each_are_not_measured(n):
    alone = np.eye(n, dtype=np.int64)
    by_two_classes = np.stack([alone[: n // 2].sum(axis=0), alone[n // 2 :].sum(axis=0)])
    for counts in (alone, by_two_classes, by_two_classes.T):
        assert cramers_v(counts) is None


def test_balanced_accuracy_of_the_source_counts_each_class_alike():
    assert balanced_accuracy_of_source(np.array([[1000, 0], [0, 3]])) == 1
    assert balanced_accuracy_of_source(np.array([[1000, 10], [1000, 10]])) == 0.5
    assert balanced_accuracy_of_source(np.array([[900, 5], [100, 5]])) == pytest.approx((0.9 + 0.5) / 2)
