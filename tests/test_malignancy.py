"""Malignant against benign: the figures are those of scikit-learn on the rows themselves."""

import numpy as np
import pytest
from dermaspark.config import MALIGNANT
from dermaspark.labels import Floats, Ints, LabelMap
from dermaspark.malignancy import count
from dermaspark.metrics import figures
from dermaspark.randomness import generator
from dermaspark.sums import count as count_all
from dermaspark.sums import joined, log_odds_bin, lower_edge
from sklearn import metrics as sk

CLASSES = ["Actinic-Keratosis", "dermatofibroma", "melanoma", "nevus", "squamous_cell  carcinoma"]
BAD = np.array([True, False, True, False, True])


def scored(n: int) -> tuple[Ints, Floats]:
    rng = generator(5, "malignancy", str(n))
    truth = rng.integers(0, 5, n)
    odds = np.exp(rng.normal(size=(n, 5)) * 1.5 + 1.5 * np.eye(5)[truth])
    return truth, odds / odds.sum(axis=1, keepdims=True)


def found(truth: Ints, probabilities: Floats, label_map: LabelMap) -> dict | None:
    sums = joined(count_all(truth, probabilities, label_map), count(truth, probabilities, label_map))
    return figures(sums, label_map.classes, label_map)["malignancy"]


@pytest.mark.parametrize("n", [120, 20_000])
def test_figures_equal_those_of_scikit_learn(n: int) -> None:
    truth, probabilities = scored(n)
    of = found(truth, probabilities, LabelMap.of_classes(CLASSES, MALIGNANT))
    assert of is not None
    malignant, called, chance = BAD[truth], BAD[probabilities.argmax(axis=1)], probabilities[:, BAD].sum(axis=1)
    assert of["classes"] == [CLASSES[0], CLASSES[2], CLASSES[4]]
    assert (of["n_malignant"], of["n_benign"]) == (malignant.sum(), (~malignant).sum())
    assert of["sensitivity"] == pytest.approx(sk.recall_score(malignant, called))
    assert of["specificity"] == pytest.approx(sk.recall_score(~malignant, ~called))
    assert of["auc"] == pytest.approx(sk.roc_auc_score(malignant, chance), abs=1e-4)
    false, true, _ = sk.roc_curve(malignant, chance, drop_intermediate=False)
    assert of["specificity_at_95_sensitivity"] == pytest.approx(1 - false[true >= 0.95][0], abs=2e-3)
    threshold = of["threshold_at_95_sensitivity"]
    assert (chance[malignant] >= threshold).mean() >= 0.95
    assert (chance[~malignant] < threshold).mean() == of["specificity_at_95_sensitivity"]


def test_there_are_none_where_a_model_knows_one_kind_alone() -> None:
    truth, probabilities = scored(50)
    assert found(truth, probabilities, LabelMap.of_classes(CLASSES, ["wart"])) is None
    assert found(truth, probabilities, LabelMap.of_classes(CLASSES, CLASSES)) is None


def test_a_label_that_may_be_either_counts_nowhere() -> None:
    sets = {"keratoses": ["Actinic-Keratosis", "dermatofibroma"], "melanoma": ["melanoma"], "other": ["nevus"]}
    label_map = LabelMap.of_sets(sets, CLASSES, MALIGNANT)
    assert label_map.kind.tolist() == [-1, 1, 0]
    truth, probabilities = scored(300)
    truth %= 3
    of = found(truth, probabilities, label_map)
    assert of is not None
    assert (of["n_malignant"], of["n_benign"]) == ((truth == 1).sum(), (truth == 2).sum())
    called = BAD[probabilities.argmax(axis=1)]
    assert of["sensitivity"] == called[truth == 1].mean()
    assert of["specificity"] == (~called)[truth == 2].mean()


def test_the_edge_of_a_bin_is_the_first_probability_in_it() -> None:
    for probability in (1e-12, 1e-4, 0.1, 0.5, 0.9, 1 - 1e-6, 1 - 1e-14, 1.0):
        place = int(log_odds_bin(np.array(probability)))
        edge = lower_edge(place)
        assert edge <= probability
        assert log_odds_bin(np.array(edge)) == place
        assert log_odds_bin(np.nextafter(edge, 0)) == place - 1
    assert lower_edge(0) == 0
