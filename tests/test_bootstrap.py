"""The bootstrap over groups gives what weighing each photograph by its group's draw gives, and knows of lesions."""

import numpy as np
import pytest
from dermaspark import bootstrap
from dermaspark.intervals import wilson
from dermaspark.randomness import generator
from dermaspark.sums import Sums, joined
from sklearn.metrics import balanced_accuracy_score

LABELS = ("melanoma", "nevus", "wart", "never seen")


def drawn(n: int, per_group: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Truth, whether it was predicted right and group; photographs of one group share both."""
    rng = generator(1, "bootstrap test", f"{n} {per_group}")
    truth = np.repeat(rng.choice(3, n // per_group, p=[0.2, 0.7, 0.1]), per_group)
    right = np.repeat(rng.random(n // per_group) < 0.7, per_group)
    return truth, right, [f"lesion {k // per_group}" for k in range(n)]


def test_replicates_are_the_figures_of_photographs_weighted_by_the_draw_of_their_group() -> None:
    truth, right, groups = drawn(600, 3)
    found = bootstrap.replicates(bootstrap.count(truth, right, groups), len(LABELS))
    names = sorted(set(groups))
    of_group = dict(zip(names, bootstrap.weights(names), strict=True))
    weights = np.array([of_group[group] for group in groups])
    predicted = np.where(right, truth, (truth + 1) % 3)
    for replicate in (0, 1, 250, 499):
        weight = weights[:, replicate]
        assert found.accuracy[replicate] == pytest.approx(np.average(right, weights=weight))
        assert found.sensitivity[1, replicate] == pytest.approx(
            np.average(right[truth == 1], weights=weight[truth == 1])
        )
        balanced = balanced_accuracy_score(truth, predicted, sample_weight=weight)
        assert found.balanced_accuracy[replicate] == pytest.approx(balanced)
    figures = bootstrap.figures(bootstrap.count(truth, right, groups), LABELS)
    assert figures["accuracy"] == np.percentile(found.accuracy, [2.5, 97.5]).tolist()
    assert figures["sensitivity"]["never seen"] is None
    assert list(figures["sensitivity"]) == list(LABELS)


def test_draws_are_poisson_of_mean_one_and_belong_to_the_group_alone() -> None:
    names = [f"group {k}" for k in range(200)]
    weights = bootstrap.weights(names)
    assert weights.mean() == pytest.approx(1, abs=0.02)
    assert weights.var() == pytest.approx(1, abs=0.03)
    assert (weights == bootstrap.weights(names[::-1])[::-1]).all()
    assert abs(np.corrcoef(weights[0], weights[1])[0, 1]) < 0.15


def test_counts_of_parts_add_up_to_those_of_the_whole() -> None:
    truth, right, groups = drawn(300, 3)
    whole = bootstrap.figures(bootstrap.count(truth, right, groups), LABELS)
    order = generator(2, "order", "").permutation(300)
    parts = [bootstrap.count(truth[p], right[p], [groups[k] for k in p]) for p in np.array_split(order, 7)]
    assert bootstrap.figures(joined(*parts), LABELS) == whole


def test_intervals_are_wilsons_for_lone_photographs_and_wider_for_lesions_photographed_often() -> None:
    widths = []
    for per_group in (1, 4):
        truth, right, groups = drawn(2000, per_group)
        low, high = bootstrap.figures(bootstrap.count(truth, right, groups), LABELS)["accuracy"]
        interval = wilson(int(right.sum()), 2000)
        assert interval
        widths.append((high - low) / (interval[1] - interval[0]))
    assert widths[0] == pytest.approx(1, abs=0.15)
    assert widths[1] == pytest.approx(2, abs=0.3)


def test_no_photographs_have_no_intervals() -> None:
    nothing = bootstrap.count(np.zeros(0, np.int64), np.zeros(0, bool), [])
    assert isinstance(nothing, Sums)
    assert bootstrap.figures(nothing, LABELS)["accuracy"] is None


def test_no_errors_at_all_are_not_called_certain() -> None:
    truth = np.repeat([0, 1], 8)
    right = truth == 0
    found = bootstrap.figures(bootstrap.count(truth, right, [f"g{i}" for i in range(16)]), ["a", "b"])
    assert found["sensitivity"] == {"a": None, "b": None}
    assert found["accuracy"][0] < 0.5 < found["accuracy"][1]
