"""What a run learns by: learning rates, mixed rows and calibration, each against its own definition."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from dermaspark import calibration, mixing, schedules
from dermaspark.config import Train
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax
from sklearn.metrics import log_loss

SETTINGS = Train(epochs=10, learning_rate=1.0, warmup_epochs=2)


def rates(settings: Train, ranks: int = 1, steps: int = 5) -> list[float | None]:
    return [schedules.learning_rate(settings, ranks, step, steps) for step in range(settings.epochs * steps)]


def test_the_cosine_rises_to_the_learning_rate_and_falls_to_nothing():
    found = rates(SETTINGS)
    assert found[0] == pytest.approx(schedules.LOWEST_WARMUP)
    assert found[10] == 1.0 == max(found)
    assert found[30] == pytest.approx(0.5)
    assert 0 < found[-1] < 0.01
    assert found[10:] == sorted(found[10:], reverse=True)


def test_a_plateau_has_the_learning_rate_to_itself_after_the_warm_up():
    found = rates(replace(SETTINGS, schedule="plateau"))
    assert found[10] == 1.0
    assert found[11:] == [None] * 39


def test_the_learning_rate_grows_with_the_ranks_where_it_is_told_to():
    scaled = rates(replace(SETTINGS, scale_learning_rate=True), ranks=4)
    assert scaled == pytest.approx([4 * rate for rate in rates(SETTINGS)])


@given(real=st.integers(0, 20), padding=st.integers(0, 5), place=st.text(max_size=5))
def test_mixing_leaves_padding_alone_and_every_row_is_somebodys_partner(real, padding, place):
    mix = mixing.draw(real, real + padding, 0.3, 0, place)
    assert sorted(mix.partner[:real]) == list(range(real))
    assert list(mix.partner[real:]) == list(range(real, real + padding))
    assert (mix.weight[real:] == 1).all()
    assert ((mix.weight >= 0.5) & (mix.weight <= 1)).all()
    again = mixing.draw(real, real + padding, 0.3, 0, place)
    assert np.array_equal(mix.partner, again.partner) and np.array_equal(mix.weight, again.weight)


def test_no_mixup_mixes_nothing():
    partner, weight = mixing.draw(8, 8, 0.0, 0, "0/0/0")
    assert list(partner) == list(range(8)) and (weight == 1).all()


def overconfident(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities (n, 5) twice too sure, that take class 4 for rarer than it is by exp(1), and labels."""
    random = np.random.Generator(np.random.Philox(0))
    logits = random.normal(size=(n, 5))
    labels = np.array([random.choice(5, p=p) for p in softmax(logits, axis=1)], np.int32)
    return log_softmax(2 * (logits - [0, 0, 0, 0, 1]), axis=1), labels


def test_calibration_finds_the_temperature_and_the_shifts():
    logs, labels = overconfident(4000)
    found = calibration.fit(logs, labels, np.array)
    assert found["temperature"] == pytest.approx(2, rel=0.1)
    shifts = np.array(found["shifts"])
    assert shifts[4] - shifts[:4].mean() == pytest.approx(1, abs=0.15)
    after = calibration.calibrated(logs, found["temperature"], shifts)
    assert found["log_loss_after"] == pytest.approx(log_loss(labels, after), rel=1e-6)
    assert found["log_loss_before"] == pytest.approx(log_loss(labels, np.exp(logs)), rel=1e-6)
    assert after.mean(0) == pytest.approx(np.bincount(labels) / 4000, abs=2e-3)  # as often as they are right


def test_no_other_temperature_or_shift_is_better():
    logs, labels = overconfident(300)
    found = calibration.fit(logs, labels, np.array)

    def objective(temperature, shifts):
        loss = 300 * log_loss(labels, calibration.calibrated(logs, temperature, shifts), labels=range(5))
        return loss + calibration.STIFFNESS * np.square(shifts).sum() / 2

    least = objective(found["temperature"], found["shifts"])
    for step in np.vstack([np.eye(6), -np.eye(6)]) * 0.02:
        assert objective(found["temperature"] + step[0], found["shifts"] + step[1:]) > least


def test_ranks_that_share_the_rows_out_find_what_one_would():
    logs, labels = overconfident(300)
    barrier, sums = threading.Barrier(2), [[], []]

    def fit(rank):
        def total(values):
            sums[rank] = np.asarray(values)
            barrier.wait(10)
            both = sums[0] + sums[1]
            barrier.wait(10)
            return both

        mine = np.s_[:10] if rank else np.s_[10:]
        return calibration.fit(logs[mine], labels[mine], total, leads=rank == 0)

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(fit, range(2))
    assert one == other
    alone = calibration.fit(logs, labels, np.array)
    assert one["shifts"] == pytest.approx(alone["shifts"], abs=1e-4)
    assert one["temperature"] == pytest.approx(alone["temperature"], rel=1e-4)


def test_a_row_that_the_network_took_for_impossible_leaves_finite_figures():
    found = calibration.fit(np.array([[0.0, -1000.0]]), np.array([1], np.int32), np.array)
    assert found["log_loss_before"] == pytest.approx(1000)
    assert np.isfinite([found["log_loss_after"], found["temperature"], *found["shifts"]]).all()


def test_without_rows_nothing_is_changed():
    nothing = calibration.fit(np.empty((0, 3)), np.empty(0, np.int32), np.array)
    assert nothing == {"temperature": 1.0, "shifts": [0.0, 0.0, 0.0], "rows": 0}
