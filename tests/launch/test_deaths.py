"""What is said of a rank that died."""

import signal

import pytest
from dermaspark.errors import UserError
from dermaspark.launch.deaths import LOST, PEER_GONE, Death, cause_of, describe, is_echo


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (-signal.SIGKILL, "killed by SIGKILL"),
        (-signal.SIGSEGV, "killed by SIGSEGV"),
        (3, "exit code 3"),
        (0, "ended without returning (exit code 0)"),
        (None, LOST),
    ],
)
def test_the_end_of_a_process_is_named(code, cause):
    assert cause_of(None, code) == cause


def test_an_exception_is_told_in_one_line():
    assert cause_of(describe(ValueError("first\nsecond")), 1) == "ValueError: first"
    assert cause_of(describe(KeyError()), 1) == "KeyError: "


def test_a_persons_mistake_is_told_from_others():
    assert describe(UserError("no such folder"))["user"]
    assert not describe(OSError("no such folder"))["user"]


def test_a_rank_that_lost_its_peers_is_an_echo_of_their_death():
    lost = RuntimeError("{{node HorovodAllreduce}} Horovod has been shut down. Connection reset by peer")
    assert is_echo(describe(lost))
    assert is_echo(describe(RuntimeError(f"Graph execution error:\nConnectionError: {PEER_GONE}")))
    assert not is_echo(describe(ValueError("bad row")))
    assert not is_echo(None)


def test_a_death_reads_as_one_line():
    death = Death(1, "node7", "killed by SIGKILL", ("a", "b"), 0.0, 0)
    assert str(death) == "rank 1 on node7 died: killed by SIGKILL"
