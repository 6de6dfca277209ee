"""The epoch plan's promises, over random datasets, batches and numbers of ranks."""

from collections import Counter

import numpy as np
from dermaspark.plan import choose_copies, plan_rank, shuffle_files
from hypothesis import given
from hypothesis import strategies as st

ROWS = st.lists(st.integers(1, 50), min_size=1, max_size=12)
RANKS = st.integers(1, 9)
BATCH = st.integers(1, 64)


def plans(rows, ranks, batch, *, seed=0, epoch=0, block=40):
    files = shuffle_files(range(len(rows)), seed, epoch)
    return [
        plan_rank(files, rows, rank=r, ranks=ranks, global_batch=batch, block_rows=block, shuffle=(seed, epoch))
        for r in range(ranks)
    ]


def rows_read(plan):
    """(file, row) of every row that a rank reads, in the order in which it meets them."""
    read = []
    for block, order in zip(plan.blocks, plan.orders, strict=True):
        laid_out = [(piece.file, row) for piece in block for row in range(piece.start, piece.stop)]
        read += [laid_out[i] for i in order]
    return read


@given(ROWS, RANKS, BATCH)
def test_every_row_is_read_exactly_once_over_all_ranks(rows, ranks, batch):
    read = Counter(row for plan in plans(rows, ranks, batch) for row in rows_read(plan))
    assert read == Counter((file, row) for file, n in enumerate(rows) for row in range(n))


@given(ROWS, RANKS, BATCH)
def test_every_rank_takes_the_same_steps_and_no_step_is_empty_or_over_the_batch(rows, ranks, batch):
    made = plans(rows, ranks, batch)
    assert len({(plan.steps, plan.batch_size) for plan in made}) == 1
    assert made[0].steps == -(-sum(rows) // batch)
    total = sum(plan.batch_rows for plan in made)
    for plan in made:
        assert len(plan.batch_rows) == plan.steps
        assert plan.batch_rows.sum() == sum(len(order) for order in plan.orders) == plan.rows
        assert plan.batch_rows.max() <= plan.batch_size
        assert np.array_equal(plan.global_rows, total)
    assert total.min() > 0, "a step without a row divides by zero"
    assert total.max() <= batch


@given(ROWS, RANKS)
def test_one_batch_holds_all_when_it_is_large_enough(rows, ranks):
    assert plans(rows, ranks, batch=sum(rows))[0].steps == 1


def test_each_epoch_has_an_order_of_its_own_and_the_same_one_again_for_the_same_seed():
    rows = [30] * 8
    first, again, second = (plans(rows, 2, 16, epoch=e)[0] for e in (0, 0, 1))
    assert rows_read(first) == rows_read(again)
    assert rows_read(first) != rows_read(second)
    assert rows_read(first) != rows_read(plans(rows, 2, 16, seed=1)[0])


def test_no_row_stays_on_a_rank():
    rows, ranks, epochs = [25] * 12, 3, 60
    seen = {}
    for epoch in range(epochs):
        for rank, plan in enumerate(plans(rows, ranks, 32, epoch=epoch)):
            for row in rows_read(plan):
                seen.setdefault(row, Counter())[rank] += 1
    shares = np.array([[by[rank] / epochs for rank in range(ranks)] for by in seen.values()])
    assert shares.min() > 0.1 and shares.max() < 0.6


def test_rows_are_mixed_beyond_the_file_they_stand_in():
    plan = plans([50] * 20, 1, 32, block=400)[0]
    files_in_a_batch = [len({file for file, _ in rows_read(plan)[i : i + 32]}) for i in range(0, 960, 32)]
    assert min(files_in_a_batch) >= 4


@given(st.integers(1, 9), st.integers(1, 6), st.integers(1, 6), st.integers(0, 3))
def test_each_epoch_shows_every_bucket_in_the_copies_asked_for_and_every_copy_in_turn(n, copies, wanted, seed):
    wanted = min(wanted, copies)
    buckets, numbers = np.divmod(np.arange(n * copies), copies)
    shown = Counter()
    for epoch in range(copies):
        chosen = choose_copies(buckets.tolist(), numbers.tolist(), wanted, seed, epoch)
        assert len(set(chosen)) == len(chosen) == n * wanted
        assert Counter(buckets[chosen].tolist()) == dict.fromkeys(range(n), wanted)
        shown.update(chosen)
    assert set(shown.values()) == {wanted} and len(shown) == n * copies
