"""The promises of a sum in shared memory: right on every rank, again and again, and over when a rank dies."""

import mmap
import multiprocessing
import os
import socket
import tempfile
from contextlib import closing

import numpy as np
import pytest
from dermaspark.launch.deaths import PEER_GONE
from dermaspark.shared_sum import Meeting, SharedSum, join

SHAPES = ((7, 5), (3,), (1, 2, 2))
FLOATS = 42
SUMS = 20


def arrays(rank, number):
    rng = np.random.default_rng([rank, number])
    return [rng.normal(size=shape).astype(np.float32) for shape in SHAPES]


def join_and_add(address, rank, ranks, results, sums):
    end = join(address, rank, ranks, FLOATS)
    for number in range(sums):
        results.put((rank, number, [array.tobytes() for array in end.add_up(*arrays(rank, number))]))
    results.close()
    results.join_thread()
    os._exit(0)


def gather(ranks, sums):
    """Rank 0's end, the other ranks' processes and what they found."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    with closing(Meeting()) as meeting:
        others = [
            context.Process(target=join_and_add, args=(meeting.address, rank, ranks, results, sums), daemon=True)
            for rank in range(1, ranks)
        ]
        for other in others:
            other.start()
        return meeting.lead(ranks, FLOATS), others, results


@pytest.mark.parametrize("ranks", [2, 3])
def test_every_rank_has_the_same_sum_each_time(ranks):
    end, _, results = gather(ranks, SUMS)
    mine = [end.add_up(*arrays(0, number)) for number in range(SUMS)]
    for number, found in enumerate(mine):
        each = [arrays(rank, number) for rank in range(ranks)]
        for array, *parts in zip(found, *each, strict=True):
            np.testing.assert_allclose(array, np.sum(parts, axis=0), rtol=1e-5, atol=1e-6)
    for _ in range((ranks - 1) * SUMS):
        _, number, theirs = results.get(timeout=30)
        assert theirs == [array.tobytes() for array in mine[number]]


def test_a_rank_that_dies_is_noticed():
    end, others, _ = gather(2, 1)
    end.add_up(*arrays(0, 0))
    others[0].join(30)
    with pytest.raises(ConnectionError, match=PEER_GONE):
        end.add_up(*arrays(0, 1))


@pytest.mark.parametrize("dies", [0, 1])
def test_a_rank_that_dies_before_it_read_what_it_was_sent_is_told_of_as_any_other(dies):
    links = socket.socketpair()
    memory = os.memfd_create("sum")
    os.ftruncate(memory, 3 * mmap.PAGESIZE)
    links[1 - dies].sendall(b"\0")
    links[dies].close()
    end = SharedSum(1 - dies, 2, FLOATS, memory, [links[1 - dies]])
    with pytest.raises(ConnectionError, match=PEER_GONE):
        end.add_up(*arrays(0, 0))


def test_the_folder_of_temporary_files_may_have_a_long_name(tmp_path, monkeypatch):
    (folder := tmp_path / ("deep-" * 30)).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    end, *_ = gather(2, 1)
    (mine,) = [end.add_up(*arrays(0, 0))]
    np.testing.assert_allclose(mine[0], arrays(0, 0)[0] + arrays(1, 0)[0], rtol=1e-5, atol=1e-6)
    assert not os.listdir(folder)


def test_nobody_else_can_join_and_nothing_is_left():
    with closing(Meeting()) as meeting:
        assert os.stat(os.path.dirname(meeting.address)).st_mode & 0o077 == 0
    assert not os.path.exists(os.path.dirname(meeting.address))
