"""The launcher's promises on executors of their own: whatever is killed, the ranks end and start again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

DRIVER = Path(__file__).with_name("launcher_driver.py")
SCENARIOS = ("allreduce", "too_many", "worker", "daemon", "executor", "rank")


def start(master: str, *scenarios: str, **streams: int) -> subprocess.Popen:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, str(DRIVER), master, *scenarios]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, **streams)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[str, dict]:
    """Of every scenario, on two executors of one core each that know nothing of the checkout."""
    log = tmp_path_factory.mktemp("driver") / "stderr"
    with log.open("w") as stderr, start("local-cluster[2,1,1024]", *SCENARIOS, stderr=stderr) as driver:
        lines = driver.communicate(timeout=280)[0].splitlines()
    assert driver.returncode == 0, log.read_text()[-5000:]
    found = [json.loads(line) for line in lines if line.startswith("{")]
    return {outcome["scenario"]: outcome for outcome in found}


def test_ranks_on_two_executors_add_up(outcomes):
    assert outcomes["allreduce"]["sum"] == 3.0
    print(f"hvd.init() done {outcomes['allreduce']['seconds_to_init']:.1f} s after run()")


def test_too_few_slots_fail_in_seconds_and_one_line(outcomes):
    assert "train.num_processes=5 needs 5 task slots, the cluster has 2" in outcomes["too_many"]["error"]
    assert "\n" not in outcomes["too_many"]["error"]
    assert outcomes["too_many"]["seconds"] < 10


@pytest.mark.parametrize(
    ("victim", "cause"),
    [
        ("rank", "killed by SIGKILL"),
        ("worker", "its Spark task was lost (the executor or its Python worker died)"),
        ("daemon", "OrphanedWorkerError: Spark's daemon of Python workers died on its host"),
        ("executor", "its Spark task was lost (the executor or its Python worker died)"),
    ],
)
def test_whatever_is_killed_the_ranks_start_again_and_none_lives_on(outcomes, victim, cause):
    outcome = outcomes[victim]
    (death,) = outcome["deaths"]
    assert (death["rank"], death["cause"], death["attempt"]) == (1, cause, 0)
    assert death["lines"][0] == "rank 1 runs", "its last lines are known though its host's processes are gone"
    assert outcome["result"] == {"attempt": 1, "deaths": [cause]}
    assert outcome["alive"] == []
    assert outcome["seconds_to_notice"] < 15
    assert len(outcome["executors"]) == 2


def test_no_rank_outlives_a_killed_driver():
    with start("local[2]", "forever", stderr=subprocess.DEVNULL) as driver:
        assert driver.stdout is not None
        pids = {pid for _ in range(20) for pid in json.loads(_report(driver.stdout))[:2]}
        assert len(pids) == 4, "two ranks and their workers"
        driver.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            assert time.monotonic() - killed < 60
            time.sleep(0.05)
        print(f"all ranks gone {time.monotonic() - killed:.1f} s after the driver was killed")


def _report(lines) -> str:
    """The next line that is a report: rank 0's own lines are among them."""
    return next(line for line in lines if line.startswith("["))
