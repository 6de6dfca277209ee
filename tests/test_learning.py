"""What a run learns by: learning rates, mixed rows and the temperature, each against its own definition."""

from dataclasses import replace

import numpy as np
import pytest
from dermaspark import calibration, mixing, schedules
from dermaspark.config import Train
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

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


def test_the_temperature_is_that_of_the_least_log_loss():
    random = np.random.Generator(np.random.Philox(0))
    logits = random.normal(size=(4000, 5))
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([random.choice(5, p=p) for p in shares], np.int32)
    overconfident = np.log(np.exp(2 * logits) / np.exp(2 * logits).sum(1, keepdims=True))

    def loss(temperature: float) -> float:
        scaled = overconfident / temperature
        return float((np.log(np.exp(scaled).sum(1)) - scaled[np.arange(4000), labels]).mean())

    halves = [
        calibration.losses(overconfident[part].astype(np.float32), labels[part])
        for part in np.split(np.arange(4000), 2)
    ]
    found = calibration.best(sum(halves), 4000)
    least = minimize_scalar(loss, bounds=(0.25, 4), method="bounded").x
    assert found["temperature"] == pytest.approx(least, rel=0.02)
    assert found["temperature"] == pytest.approx(2, rel=0.1)
    assert found["log_loss_before"] == pytest.approx(loss(1), rel=1e-6)
    assert found["log_loss_after"] == pytest.approx(loss(found["temperature"]), rel=1e-6)


def test_without_rows_the_temperature_is_one():
    nothing = calibration.losses(np.empty((0, 3), np.float32), np.empty(0, np.int32))
    assert calibration.best(nothing, 0) == {"temperature": 1.0, "rows": 0}
