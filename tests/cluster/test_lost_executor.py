"""Grouping goes on when an executor is lost, and with it what it kept of the rounds before."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).with_name("lost_executor_driver.py")

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


def test_a_lost_executor_costs_no_group():
    command = [sys.executable, str(DRIVER), "local-cluster[3,1,512]"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-5000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {"groups": 1, "executors": 1}
