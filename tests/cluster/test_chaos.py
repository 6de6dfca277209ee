"""Training survives the death of any of its processes: one run of the chaos test for each kind of process."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from chaos import distance, find_faults
from chaos_runs import KINDS, Result

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.mark.cluster
@pytest.mark.timeout(1200)
def test_whatever_is_killed_a_run_comes_to_what_it_would_have_come_to():
    command = [sys.executable, str(SCRIPTS / "chaos.py"), "--times", "1", "--epochs", "5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1100)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    for kind in KINDS:
        assert f"{kind}: 1 of 1 passed" in done.stdout


class Run:
    """A training run that has ended, as `find_faults` looks at it."""

    def __init__(self, result: Result, epochs: list[int], restarts: int = 0) -> None:
        self.starts = 1
        self.result = lambda: result
        self.epochs = lambda: list(enumerate(epochs))
        self.lines = [(0.0, "starting the ranks again: restart 1 of 2")] * restarts


WHOLE = Result([{"epoch": 0, "loss": 2.0}], [], {"bundle/0": np.ones((2, 2), np.float32), "step": np.array(3)})


def test_a_run_that_lost_an_epoch_or_its_way_fails_the_chaos_test():
    off = {**WHOLE.weights, "bundle/0": WHOLE.weights["bundle/0"] + np.float32(2e-5)}
    assert find_faults(Run(WHOLE, [1, 2]), WHOLE) == []
    assert find_faults(Run(WHOLE, [1, 1, 2]), WHOLE) == ["epochs lost after they had ended: [1]"]
    assert find_faults(Run(replace(WHOLE, history=[]), [1, 2]), WHOLE) == ["another history"]
    assert find_faults(Run(replace(WHOLE, weights=off), [1, 2]), WHOLE) == ["weights 2e-05 apart"]
    assert find_faults(Run(WHOLE, [1, 2], restarts=1), WHOLE) == ["0 deaths on record, 1 restarts"]


def test_weights_of_another_shape_or_name_are_infinitely_far_apart():
    assert distance({"a": np.ones(2)}, {"a": np.ones(3)}) == distance({"a": np.ones(2)}, {}) == float("inf")
    assert distance({"a": np.ones(2)}, {"a": np.array([1, 3])}) == 2
