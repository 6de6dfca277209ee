"""Figures from sums equal the figures that scikit-learn and plain arithmetic give on the rows themselves."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from dermaspark.intervals import wilson
from dermaspark.metrics import ALL, TRAINING, UNIFORM, Cell, Tally, curves, document, figures
from dermaspark.randomness import generator
from dermaspark.summary import as_text, short_names
from dermaspark.sums import BINS, Floats, Ints, Sums, count, log_odds_bin, to_prior
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as sk

NAMES = ["actinic keratosis", "basal cell carcinoma", "melanoma", "nevus", "vascular lesion"]


ABOUT = {"dataset": {}, "model": {}, "protocol": "as published", "created": "2026-01-01T00:00:00+00:00"}


def tally_of(rows: dict[str, tuple[Ints, Floats]], names: Sequence[str] = NAMES) -> Tally:
    prior = np.full(len(names), 1 / len(names))
    found: dict[Cell, dict[str, Any]] = {}
    for split, (truth, probabilities) in rows.items():
        found[Cell(split, ALL, ALL, TRAINING)] = figures(count(truth, probabilities), names)
        even = to_prior(probabilities, prior, np.ones(len(prior)))
        found[Cell(split, ALL, ALL, UNIFORM)] = figures(count(truth, even), names)
    drawn = {split: curves(count(*of), names) for split, of in rows.items()}
    return Tally(tuple(names), found, drawn, {split: {} for split in rows})


def scored(n: int, classes: int, skill: float = 2.0) -> tuple[Ints, Floats]:
    """Truth and probabilities of a model that knows something, of classes of uneven size."""
    rng = generator(7, "scored", f"{n} {classes} {skill}")
    shares = np.arange(classes, 0, -1) / np.arange(classes, 0, -1).sum()
    truth = rng.choice(classes, n, p=shares)
    logits = rng.normal(size=(n, classes)) * 2 + skill * np.eye(classes)[truth]
    odds = np.exp(logits)
    return truth, odds / odds.sum(axis=1, keepdims=True)


def one_against_rest(truth: Ints, probabilities: Floats) -> list[float]:
    return [sk.roc_auc_score(truth == k, probabilities[:, k]) for k in range(probabilities.shape[1])]


def exact_ece(truth: Ints, probabilities: Floats) -> float:
    """Photographs sorted by confidence, cut into 15 parts of equal size."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    parts = np.array_split(np.argsort(confidence, kind="stable"), 15)
    gaps = [len(p) * abs(right[p].mean() - confidence[p].mean()) for p in parts if len(p)]
    return float(sum(gaps) / len(truth))


@pytest.mark.parametrize(("n", "auc_tolerance"), [(118, 1e-4), (20_000, 1e-5)])
def test_figures_equal_those_of_scikit_learn(n: int, auc_tolerance: float) -> None:
    truth, probabilities = scored(n, 5)
    predicted = probabilities.argmax(axis=1)
    found = figures(count(truth, probabilities), NAMES)
    aucs = one_against_rest(truth, probabilities)
    assert found["n"] == n
    assert found["confusion_matrix"] == sk.confusion_matrix(truth, predicted).tolist()
    assert found["accuracy"] == sk.accuracy_score(truth, predicted)
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(truth, predicted), abs=1e-12)
    assert found["log_loss"] == pytest.approx(sk.log_loss(truth, probabilities), abs=1e-9)
    brier = np.square(probabilities - np.eye(5)[truth]).sum(axis=1).mean()
    assert found["brier"] == pytest.approx(brier, abs=1e-9)
    assert found["ece"] == pytest.approx(exact_ece(truth, probabilities), abs=1e-4)
    assert found["macro_auc"] == pytest.approx(np.mean(aucs), abs=auc_tolerance)
    precision = sk.average_precision_score(np.eye(5)[truth], probabilities, average="macro")
    assert found["macro_average_precision"] == pytest.approx(precision, abs=1e-3)
    for k, name in enumerate(NAMES):
        of = found["per_class"][name]
        hits = truth == k
        calls = predicted == k
        assert of["n"] == hits.sum()
        assert of["sensitivity"] == pytest.approx(sk.recall_score(hits, calls))
        assert of["specificity"] == pytest.approx(sk.recall_score(~hits, ~calls))
        assert of["precision"] == pytest.approx(sk.precision_score(hits, calls))
        assert of["f1"] == pytest.approx(sk.f1_score(hits, calls))
        assert of["auc"] == pytest.approx(aucs[k], abs=5 * auc_tolerance)
        exact = sk.average_precision_score(hits, probabilities[:, k])
        assert of["average_precision"] == pytest.approx(exact, abs=1e-3)


def test_equal_probabilities_count_half_in_auc() -> None:
    truth, probabilities = scored(500, 5)
    tied = np.rint(probabilities * 10) / 10
    found = figures(count(truth, tied), NAMES)
    assert found["macro_auc"] == pytest.approx(np.mean(one_against_rest(truth, tied)), abs=1e-12)
    no_skill = figures(count(truth, np.full((500, 5), 0.2)), NAMES)
    assert no_skill["macro_auc"] == 0.5


def test_a_confident_network_keeps_the_ranks_of_its_tails() -> None:
    truth, probabilities = scored(3000, 5, skill=9.0)
    sharp = probabilities**4 / (probabilities**4).sum(axis=1, keepdims=True)
    assert np.median(sharp.max(axis=1)) > 1 - 1e-9
    exact = one_against_rest(truth, sharp)
    found = figures(count(truth, sharp), NAMES)
    assert [found["per_class"][name]["auc"] for name in NAMES] == pytest.approx(exact, abs=1e-5)
    assert found["log_loss"] == pytest.approx(sk.log_loss(truth, sharp), abs=1e-9)


def test_an_absent_class_has_no_figures_and_spoils_none() -> None:
    truth, probabilities = scored(300, 5)
    kept = truth != 2
    found = figures(count(truth[kept], probabilities[kept]), NAMES)
    absent = found["per_class"]["melanoma"]
    assert absent["n"] == 0
    assert [absent[key] for key in ("sensitivity", "f1", "auc", "average_precision")] == [None] * 4
    present = [found["per_class"][name]["sensitivity"] for name in NAMES if name != "melanoma"]
    assert found["balanced_accuracy"] == pytest.approx(np.mean(present))
    assert found["macro_auc"] is not None
    only = truth == 1
    alone = figures(count(truth[only], probabilities[only]), NAMES)
    assert alone["macro_auc"] is None
    assert alone["per_class"]["nevus"]["specificity"] is not None
    assert alone["per_class"]["basal cell carcinoma"]["specificity"] is None


def test_no_photographs_give_no_figures_and_no_error() -> None:
    found = figures(count(np.zeros(0, np.int64), np.zeros((0, 5))), NAMES)
    assert found["n"] == 0
    assert found["confusion_matrix"] == [[0] * 5] * 5
    undefined = set(found) - {"n", "confusion_matrix", "per_class"}
    assert [found[key] for key in undefined] == [None] * len(undefined)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 60), st.integers(1, 6), st.integers(0, 2**32))
def test_every_figure_is_a_finite_number_or_null(n: int, classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, n)
    probabilities = rng.dirichlet(np.full(classes, 0.05), n) if n else np.zeros((0, classes))
    found = document(tally_of({"test": (truth, probabilities)}, [str(k) for k in range(classes)]), **ABOUT)
    json.dumps(found, allow_nan=False)
    assert as_text(found)


def test_sums_do_not_depend_on_how_the_rows_are_parted() -> None:
    truth, probabilities = scored(1000, 5)
    whole = figures(count(truth, probabilities), NAMES)
    for parts in (3, 8):
        pieces = [count(truth[part], probabilities[part]) for part in np.array_split(np.arange(1000)[::-1], parts)]
        assert figures(Sums(*(np.concatenate(column) for column in zip(*pieces, strict=True))), NAMES) == whole


def test_bins_keep_the_order_of_probabilities() -> None:
    probabilities = np.sort(np.concatenate([[0, 1], 10.0 ** -np.linspace(0, 15, 500), np.linspace(0, 1, 500)]))
    places = log_odds_bin(probabilities)
    assert (np.diff(places) >= 0).all()
    assert places.min() >= 0
    assert places.max() < BINS
    assert log_odds_bin(np.array([1e-9])) < log_odds_bin(np.array([1.1e-9]))


def test_accuracy_at_80_percent_coverage_is_that_of_the_most_confident() -> None:
    truth, probabilities = scored(1000, 5)
    kept = np.argsort(probabilities.max(axis=1))[200:]
    exact = (probabilities.argmax(axis=1) == truth)[kept].mean()
    assert figures(count(truth, probabilities), NAMES)["accuracy_at_80_coverage"] == pytest.approx(exact, abs=1e-3)


def test_a_uniform_prior_undoes_the_shares_of_training() -> None:
    prior = np.array([0.7, 0.2, 0.1, 0.0])
    likelihood = np.array([[1.0, 3.0, 2.0, 0.0], [4.0, 1.0, 1.0, 0.0]])
    at_training = likelihood * prior / (likelihood * prior).sum(axis=1, keepdims=True)
    expected = likelihood / likelihood.sum(axis=1, keepdims=True)
    assert to_prior(at_training, prior, np.ones(len(prior))) == pytest.approx(expected)
    all_on_unseen = np.array([[0.0, 0.0, 0.0, 1.0]])
    assert to_prior(all_on_unseen, prior, np.ones(len(prior))).tolist() == all_on_unseen.tolist()


@pytest.mark.parametrize(("successes", "trials"), [(0, 5), (5, 5), (63, 118), (7_000, 10_000)])
def test_the_interval_is_wilsons(successes: int, trials: int) -> None:
    exact = binomtest(successes, trials).proportion_ci(method="wilson")
    assert wilson(successes, trials) == pytest.approx((exact.low, exact.high), abs=1e-12)
    assert wilson(0, 0) is None


def test_curves_end_where_they_must_and_match_the_figures() -> None:
    truth, probabilities = scored(5000, 5)
    tally = tally_of({"test": (truth, probabilities)})
    of, found = tally.curves["test"], document(tally, **ABOUT)["splits"]["test"]
    for name in NAMES:
        false, true = of["roc"][name]["false_positive_rate"], of["roc"][name]["true_positive_rate"]
        assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
        assert len(false) <= 200
        assert np.trapezoid(true, false) == pytest.approx(found["per_class"][name]["auc"], abs=1e-3)
    assert sum(part["n"] for part in of["reliability"]) == pytest.approx(5000)
    assert len(of["reliability"]) == 15
    assert of["risk_coverage"]["risk"][-1] == pytest.approx(1 - found["accuracy"])
    assert of["risk_coverage"]["risk"][79] == pytest.approx(1 - found["accuracy_at_80_coverage"])


def test_a_model_that_is_always_right_has_no_risk_not_even_a_rounding_error() -> None:
    _, probabilities = scored(777, 5)
    risk = tally_of({"test": (probabilities.argmax(axis=1), probabilities)}).curves["test"]["risk_coverage"]["risk"]
    assert set(risk) == {0.0}


def test_the_document_has_what_its_readers_rely_on() -> None:
    truth, probabilities = scored(200, 5)
    found = document(tally_of({"val": (truth, probabilities), "train": (truth, probabilities)}), **ABOUT)
    assert list(found) == ["created", "dataset", "model", "protocol", "classes", "abstaining", "splits"]
    assert list(found["splits"]) == ["train", "val"]
    promised = {
        "n",
        "accuracy",
        "accuracy_ci95",
        "balanced_accuracy",
        "macro_auc",
        "log_loss",
        "ece",
        "brier",
    }
    promised |= {"confusion_matrix", "per_class", "by", "priors", "rows", "columns"}
    promised |= {"malignancy", "macro_average_precision", "clustered_ci95", "abstaining"}
    assert promised <= set(found["splits"]["val"])
    assert set(found["splits"]["val"]["priors"]) == {"uniform"}
    of_class = {"n", "sensitivity", "specificity", "precision", "f1", "auc", "average_precision"}
    assert set(found["splits"]["val"]["per_class"]["nevus"]) == of_class


def test_the_table_fits_a_terminal() -> None:
    truth, probabilities = scored(20_000, 5)
    found = document(tally_of({"test": (truth, probabilities)}, ["x" * 200, *NAMES[1:]]), **ABOUT)
    text = as_text(found)
    assert max(len(line) for line in text.splitlines()) <= 100
    assert f"{found['splits']['test']['accuracy']:.3f}" in text
    assert all(code in text for code in ("BCC", "MEL", "NEV", "VL"))
    many = document(tally_of({"test": scored(100, 40)}, [f"class {k}" for k in range(40)]), **ABOUT)
    assert max(len(line) for line in as_text(many).splitlines()) <= 100


def test_short_names_are_short_and_tell_the_classes_apart() -> None:
    names = [
        "seborrheic keratosis",
        "squamous keratosis",
        "melanoma",
        "melanocytic",
        "",
        "<script>",
        *"ab" * 40,
    ]
    codes = short_names(names)
    assert len(set(codes)) == len(names)
    assert max(map(len, codes)) <= 4
    assert codes[:4] == ["SK", "SK2", "MEL", "MEL2"]
