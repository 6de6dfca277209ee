"""A threshold is fitted on validation photographs alone, and what it does elsewhere is counted on the rows."""

import numpy as np
import pytest
from dermaspark import abstaining, malignancy
from dermaspark.config import MALIGNANT
from dermaspark.labels import Floats, Ints, LabelMap
from dermaspark.randomness import generator
from dermaspark.sums import count, joined

CLASSES = ["melanoma", "nevus", "wart"]
LABELS = LabelMap.of_classes(CLASSES, MALIGNANT)


def scored(split: str, n: int) -> tuple[Ints, Floats]:
    rng = generator(9, "abstaining", split)
    truth = rng.integers(0, 3, n)
    odds = np.exp(rng.normal(size=(n, 3)) + 2 * np.eye(3)[truth])
    return truth, odds / odds.sum(axis=1, keepdims=True)


def known(truth: Ints, probabilities: Floats) -> dict[str, list[int]]:
    sums = joined(count(truth, probabilities), malignancy.count(truth, probabilities, LABELS))
    return abstaining.confidences(sums)


def test_the_threshold_accepts_the_most_photographs_that_the_wanted_risk_allows() -> None:
    truth, probabilities = scored("val", 3000)
    threshold = abstaining.fit({"val": known(truth, probabilities)}, 0.1)["threshold"]
    confidence, wrong = probabilities.max(axis=1), probabilities.argmax(axis=1) != truth
    accepted = confidence >= threshold
    assert 0.3 < accepted.mean() < 1
    assert wrong[accepted].mean() <= 0.1
    order = np.argsort(-confidence)
    risks = np.cumsum(wrong[order]) / np.arange(1, 3001)
    assert accepted.sum() == pytest.approx(np.flatnonzero(risks <= 0.1)[-1] + 1, abs=3)


def test_figures_of_a_split_are_those_of_its_rows() -> None:
    truth, probabilities = scored("test", 500)
    threshold = abstaining.fit({"val": known(*scored("val", 3000))}, 0.1)["threshold"]
    of = abstaining.figures(known(truth, probabilities), threshold, True)
    accepted, predicted = probabilities.max(axis=1) >= threshold, probabilities.argmax(axis=1)
    assert of == {
        "coverage": accepted.mean(),
        "risk": pytest.approx((predicted != truth)[accepted].mean()),
        "missed_malignancies": ((truth == 0) & (predicted != 0) & accepted).sum(),
        "accepted": accepted.sum(),
        "n": 500,
    }
    assert of["missed_malignancies"] > 0


def test_no_test_photograph_moves_the_threshold() -> None:
    val, test = known(*scored("val", 1000)), known(*scored("test", 1000))
    alone = abstaining.fit({"val": val}, 0.1)
    assert alone["fitted_on"] == "val"
    assert abstaining.fit({"train": test, "val": val, "test": test, "out_of_fold": test}, 0.1) == alone
    assert abstaining.fit({"out_of_fold": val}, 0.1) == {**alone, "fitted_on": "out_of_fold"}
    nothing = known(np.zeros(0, np.int64), np.zeros((0, 3)))
    for splits in ({"train": val, "test": test, "outside": val}, {"val": nothing}):
        assert abstaining.fit(splits, 0.1) == {"wanted_risk": 0.1, "threshold": None, "fitted_on": None}


def test_a_bundle_keeps_enough_to_fit_any_risk_on_its_validation_photographs() -> None:
    truth, probabilities = scored("val", 1000)
    halves = [abstaining.count(truth[part], probabilities[part]) for part in (slice(300), slice(300, None))]
    kept = abstaining.thresholds(sum(halves))
    assert (np.diff(kept["risk"]) < 0).all() and (np.diff(kept["threshold"]) > 0).all()
    test = {"test": known(*scored("test", 1000))}
    for risk in (0.0, 0.02, 0.1, 0.3, 1.0):
        assert abstaining.fit(test, risk, kept) == abstaining.fit({"val": known(truth, probabilities)}, risk)
    assert abstaining.fit(test, 1.0, kept)["threshold"] == 0
    nothing = abstaining.thresholds(abstaining.count(truth[:0], probabilities[:0]))
    assert abstaining.fit({"val": test["test"]}, 0.1, nothing)["fitted_on"] is None


def test_a_risk_that_is_out_of_reach_gives_null() -> None:
    always_wrong = np.ones(20, np.int64), np.tile([0.8, 0.1, 0.1], (20, 1))
    fitted = abstaining.fit({"val": known(*always_wrong)}, 0.1)
    assert (fitted["fitted_on"], fitted["threshold"]) == ("val", None)
    assert abstaining.figures(known(*always_wrong), None, True) is None
    everything = abstaining.figures(known(*always_wrong), 0.0, False)
    assert everything == {"coverage": 1, "risk": 1, "missed_malignancies": None, "accepted": 20, "n": 20}
