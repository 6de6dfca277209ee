"""The launcher's promises on one machine: real ranks, what they say meanwhile, what becomes of failures."""

import logging
import os
import signal
import sys
import time

import cloudpickle
import psutil
import pytest
from dermaspark.errors import UserError
from dermaspark.launcher import HorovodDistributor, LaunchError

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the ranks have no tests on their path


def listening(pid: int) -> list[str]:
    """The addresses at which a process takes connections."""
    connections = psutil.Process(pid).net_connections("tcp")
    return [connection.laddr.ip for connection in connections if connection.status == psutil.CONN_LISTEN]


def allreduce(steps: int) -> dict:
    """A rank that adds its number to the others' again and again, and says so."""
    import horovod.tensorflow as hvd
    import tensorflow as tf
    from dermaspark import rank

    hvd.init()
    me, context = psutil.Process(), rank.context()
    print(f"rank {hvd.rank()} is on its way")
    for step in range(steps):
        total = float(hvd.allreduce(tf.constant([hvd.rank() + 1.0]), op=hvd.Sum)[0])
        rank.report(step=step, sent=time.time(), pids=[me.pid, me.ppid()], attempt=context.attempt, total=total)
        time.sleep(0.1)
    threads = [os.environ[key] for key in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")]
    secrets = [key for key in os.environ if "SECRET" in key]
    return {"total": total, "size": hvd.size(), "context": context, "threads": threads, "secrets": secrets}


@pytest.fixture(scope="module")
def ran(spark):
    """One run of two ranks: its result, and each message with its time of arrival and who listened then."""
    seen = []

    def look(number: int, message: dict) -> None:
        pids = [os.getpid(), *message["pids"]] if message["step"] == 3 else []
        seen.append((number, message, time.time(), [address for pid in pids for address in listening(pid)]))

    return HorovodDistributor(spark, 2, on_message=look).run(allreduce, 8), seen


def test_a_function_is_found_in_a_module_of_any_imports(spark):
    from sklearn.metrics import accuracy_score

    assert HorovodDistributor(spark, 1).run(accuracy_score, [1, 0], [1, 1]) == 0.5


def test_two_processes_add_up(ran):
    result, seen = ran
    assert (result["total"], result["size"]) == (3.0, 2)
    ranks = {number: message["pids"][0] for number, message, *_ in seen}
    assert len(set(ranks.values())) == len(ranks) == 2
    assert os.getpid() not in ranks.values()


def test_messages_arrive_while_the_ranks_run_and_in_order(ran):
    _, seen = ran
    for number in (0, 1):
        assert [message["step"] for rank, message, *_ in seen if rank == number] == list(range(8))
    last_sent = max(message["sent"] for _, message, *_ in seen)
    assert sum(arrived < last_sent for _, _, arrived, _ in seen) >= 8


def test_nothing_listens_on_all_interfaces(ran):
    _, seen = ran
    addresses = [address for *_, found in seen for address in found]
    assert len(addresses) >= 2, "the rendezvous is one, and each rank's Gloo is another"
    assert set(addresses) <= {"127.0.0.1", "::1"}


def test_a_rank_gets_its_tasks_threads_and_no_secret_of_sparks(ran):
    result, _ = ran
    assert result["threads"] == ["1", "1"]
    assert result["secrets"] == []


def test_no_rank_lives_on_after_its_run(ran):
    _, seen = ran
    assert not any(psutil.pid_exists(message["pids"][0]) for _, message, *_ in seen)


def test_a_killed_rank_is_named_and_the_ranks_start_again(spark, caplog):
    def kill(number: int, message: dict) -> None:
        if (number, message["step"], message["attempt"]) == (1, 2, 0):
            os.kill(message["pids"][0], signal.SIGKILL)

    launcher = HorovodDistributor(spark, 2, max_restarts=1, on_message=kill)
    with caplog.at_level(logging.WARNING, "dermaspark"):
        result = launcher.run(allreduce, 5)
    assert result["total"] == 3.0
    assert result["context"].attempt == 1
    (death,) = launcher.deaths
    assert (death.rank, death.cause, death.attempt) == (1, "killed by SIGKILL", 0)
    assert death.lines[-1] == "rank 1 is on its way"
    assert result["context"].deaths == (death,)
    assert "rank 1 on 127.0.0.1 died: killed by SIGKILL" in caplog.text
    assert "| rank 1 is on its way" in caplog.text


def scribble() -> str:
    """A rank that leaves a temporary file behind; rank 1 is killed in its first start."""
    import tempfile

    from dermaspark import rank

    name = tempfile.mkstemp()[1]
    rank.report(file=name)
    if (rank.context().rank, rank.context().attempt) == (1, 0):
        os.kill(os.getpid(), signal.SIGKILL)
    return name


def test_a_killed_rank_leaves_no_temporary_file_behind(spark):
    files = []
    launcher = HorovodDistributor(spark, 2, max_restarts=1, on_message=lambda _, message: files.append(message["file"]))
    launcher.run(scribble)
    assert len(files) >= 3
    assert [file for file in files if os.path.exists(file)] == []


def fail(error: Exception) -> None:
    """Rank 1 fails while rank 0 sleeps."""
    from dermaspark import rank

    if rank.context().rank == 0:
        time.sleep(60)
    print("about to fail")
    raise error


def test_the_exception_of_a_rank_reaches_the_driver_in_one_line_and_its_traceback_the_log(spark, caplog):
    start = time.monotonic()
    with pytest.raises(LaunchError) as raised, caplog.at_level(logging.WARNING, "dermaspark"):
        HorovodDistributor(spark, 2).run(fail, ValueError("no such layer\nmore of it"))
    assert str(raised.value) == "rank 1 on 127.0.0.1 died: ValueError: no such layer"
    assert raised.value.death.lines[0] == "about to fail"
    assert "in fail" in caplog.text
    assert caplog.text.rstrip().endswith("more of it")
    assert time.monotonic() - start < 30, "rank 0 is not waited for"


def test_a_persons_mistake_is_told_as_such_and_not_tried_again(spark, caplog):
    launcher = HorovodDistributor(spark, 2, max_restarts=3)
    with pytest.raises(UserError, match=r"^data\.path=x: no such folder$"):
        launcher.run(fail, UserError("data.path=x: no such folder"))
    assert launcher.deaths == []
    assert caplog.text == ""


def die_after_the_others(error: Exception) -> None:
    """Rank 0 leaves a sum, and raises only when the others have long died of that."""
    import tensorflow as tf
    from dermaspark import distributed

    me, _ = distributed.start()
    distributed.add_up([tf.ones(4), tf.ones(1)])
    if me == 0:
        (shared,) = distributed._shared.values()
        for link in shared.links:
            link.close()
        time.sleep(1)
        raise error
    distributed.add_up([tf.ones(4), tf.ones(1)])


def test_a_rank_that_died_of_anothers_death_is_not_taken_for_the_cause(spark, caplog):
    launcher = HorovodDistributor(spark, 2, max_restarts=3)
    with pytest.raises(UserError, match=r"^model\.path=x: no space$"):
        launcher.run(die_after_the_others, UserError("model.path=x: no space"))
    assert launcher.deaths == []


def hang() -> str:
    from dermaspark import rank

    stuck = rank.context().rank == 1 and rank.context().attempt == 0
    for i in range(60):
        rank.report(i=i, pid=os.getpid())
        stuck and wait_for_nothing()
        if rank.context().attempt:
            break
        time.sleep(0.5)
    return "went on"


def wait_for_nothing() -> None:
    time.sleep(600)


def test_a_rank_without_progress_is_a_death_that_shows_where_it_hung(spark):
    pids = set()
    launcher = HorovodDistributor(
        spark, 2, max_restarts=1, stall_minutes=0.1, on_message=lambda _, message: pids.add(message["pid"])
    )
    assert launcher.run(hang) == "went on"
    (death,) = launcher.deaths
    assert (death.rank, death.cause) == (1, "no progress for 0.1 minutes")
    assert any("in wait_for_nothing" in line for line in death.lines)
    assert not any(psutil.pid_exists(pid) for pid in pids)


def chatter(lines: int) -> int:
    for i in range(lines):
        print("line", i, "x" * 20_000 if i == 3 else "")
    print("an error", file=sys.stderr)
    print("unfinished", end="")
    return lines


def test_what_rank_0_writes_appears_on_the_drivers_terminal_line_by_line(spark, capsys):
    assert HorovodDistributor(spark, 2).run(chatter, 200) == 200
    shown = capsys.readouterr()
    assert [line.strip() for line in shown.out.splitlines() if line.startswith("line") and "x" not in line] == [
        f"line {i}" for i in range(200) if i != 3
    ]
    assert shown.out.count("x") == 20_000, "a line too long is cut, not lost"
    assert shown.out.endswith("unfinished\n")
    assert shown.err.splitlines() == ["an error"]


def test_a_callback_that_fails_ends_the_ranks(spark):
    pids = []

    def object_to(number: int, message: dict) -> None:
        pids.append(message["pid"])
        raise RuntimeError("the disk of the driver is full")

    with pytest.raises(RuntimeError, match="the disk of the driver is full"):
        HorovodDistributor(spark, 2, on_message=object_to).run(hang)
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_more_ranks_than_slots_fail_at_once_in_one_line(spark):
    start = time.monotonic()
    with pytest.raises(UserError, match=r"^train.num_processes=64 needs 64 task slots, the cluster has \d+: .*$"):
        HorovodDistributor(spark, 64, slots_timeout=600).run(chatter, 1)
    assert time.monotonic() - start < 5, "no executor will register on a local master"


@pytest.mark.parametrize("key", ["spark.ssl.enabled", "spark.network.crypto.enabled"])
def test_ranks_in_the_clear_are_refused_where_spark_encrypts_unless_allowed_by_name(spark, key):
    conf = spark.sparkContext._conf
    conf.set(key, "true")
    try:
        with pytest.raises(UserError, match=f"^{key}=true.*train.allow_clear_text=true"):
            HorovodDistributor(spark, 1).run(chatter, 1)
        assert HorovodDistributor(spark, 1, allow_clear_text=True).run(chatter, 1) == 1
    finally:
        conf.set(key, "false")


def test_an_interface_that_is_not_there_is_the_persons_mistake(spark):
    with pytest.raises(UserError, match=r"^train\.network_interface=eth77"):
        HorovodDistributor(spark, 1, network_interface="eth77").run(chatter, 1)


def test_a_process_that_leaves_without_returning_is_a_death(spark):
    with pytest.raises(LaunchError, match=r"^rank 0 on 127\.0\.0\.1 died: exit code 3$"):
        HorovodDistributor(spark, 1).run(os._exit, 3)
    with pytest.raises(LaunchError, match="ended without returning"):
        HorovodDistributor(spark, 1).run(sys.exit)


def test_a_run_leaves_no_file_socket_or_thread_behind(spark):
    HorovodDistributor(spark, 1).run(chatter, 1)  # what is made once
    driver = psutil.Process()
    before = driver.num_fds(), len(driver.net_connections("tcp"))
    for _ in range(3):
        HorovodDistributor(spark, 1).run(chatter, 1)
    assert (driver.num_fds(), len(driver.net_connections("tcp"))) <= before
