"""The epoch plan: which rows each rank reads, in which order and in which steps; pure functions of the manifest.

An epoch lays the rows of its files end to end, the files in a new random order, and cuts that line into one
stretch a rank; a rank mixes its stretch in blocks of several files and spreads it evenly over the steps. So every
row is read once an epoch over all ranks, every rank takes the same number of steps, no row stays on a rank, and
all of it follows from the seed, the epoch and the number of ranks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dermaspark.randomness import generator


@dataclass(frozen=True)
class Piece:
    """Rows [start, stop) of one file."""

    file: int  # index into the files that the plan was made of
    start: int
    stop: int

    @property
    def rows(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class RankPlan:
    """What one rank does in one epoch."""

    blocks: list[list[Piece]]  # read in this order; the rows of a block are mixed
    orders: list[NDArray[np.int64]]  # for each block the order of its rows once read
    steps: int  # the same on every rank
    batch_size: int  # rows of this rank's batches, padding included; the same on every rank
    batch_rows: NDArray[np.int64]  # (steps,) real rows of each of this rank's batches
    global_rows: NDArray[np.int64]  # (steps,) real rows of each step over all ranks

    @property
    def rows(self) -> int:
        return int(self.batch_rows.sum())


def choose_copies(
    buckets: Sequence[int], copies: Sequence[int], copies_per_epoch: int, seed: int, epoch: int
) -> list[int]:
    """Which files an epoch reads: for each bucket of photographs, `copies_per_epoch` of its copies.

    A bucket goes through its copies in a random order of its own and shows each equally often.

    Args:
        buckets, copies: (n,) the bucket and the copy that each file holds.

    Returns:
        indices of the files, each bucket's `copies_per_epoch` times; a file stands twice only where more copies
        are asked for than there are.
    """
    by_bucket: dict[int, list[int]] = {}
    for index in np.lexsort((copies, buckets)):
        by_bucket.setdefault(buckets[index], []).append(int(index))
    chosen = []
    for bucket, files in by_bucket.items():
        order = generator(seed, "copies", str(bucket)).permutation(len(files))
        first = epoch * copies_per_epoch
        chosen += [files[order[(first + k) % len(files)]] for k in range(copies_per_epoch)]
    return chosen


def shuffle_files(files: Sequence[int], seed: int, epoch: int) -> list[int]:
    """The epoch's own order of its files."""
    return [files[i] for i in generator(seed, "files", str(epoch)).permutation(len(files))]


def plan_rank(
    files: Sequence[int],
    file_rows: Sequence[int],
    *,
    rank: int,
    ranks: int,
    global_batch: int,
    block_rows: int,
    shuffle: tuple[int, int] | None,
) -> RankPlan:
    """One rank's part of an epoch that reads `files` in the given order.

    Args:
        files: indices of the files, in the epoch's order.
        file_rows: rows of every file of the manifest, by index.
        global_batch: rows of a step over all ranks, at most.
        block_rows: files are mixed in blocks of at least so many rows (the rank's memory).
        shuffle: (seed, epoch) to mix the rows; None keeps their order (validation).
    """
    total = sum(file_rows[file] for file in files)
    steps = -(-total // global_batch)
    batch_rows = deal(total, steps, ranks)
    ends = np.cumsum(batch_rows.sum(axis=0))
    start, stop = int(ends[rank] - batch_rows[:, rank].sum()), int(ends[rank])
    blocks = _blocks(_pieces(files, file_rows, start, stop), block_rows)
    orders = [_order(sum(piece.rows for piece in block), i, rank, shuffle) for i, block in enumerate(blocks)]
    return RankPlan(
        blocks=blocks,
        orders=orders,
        steps=steps,
        batch_size=int(batch_rows.max(initial=0)),
        batch_rows=batch_rows[:, rank],
        global_rows=batch_rows.sum(axis=1),
    )


def deal(rows: int, steps: int, ranks: int) -> NDArray[np.int64]:
    """How many rows each rank takes in each step: int64 (steps, ranks), dealt like cards.

    Steps differ by at most one row, and so do the ranks within a step and over the epoch.
    """
    ends = np.arange(steps + 1) * rows // max(steps, 1)  # rows dealt by the end of each step
    dealt = (ends[:, None] - np.arange(ranks) + ranks - 1) // ranks  # row i goes to rank i modulo ranks
    return np.diff(dealt, axis=0)


def _pieces(files: Sequence[int], file_rows: Sequence[int], start: int, stop: int) -> list[Piece]:
    """Rows [start, stop) of the files laid end to end."""
    pieces, position = [], 0
    for file in files:
        low, high = max(start - position, 0), min(stop - position, file_rows[file])
        if low < high:
            pieces.append(Piece(file, low, high))
        position += file_rows[file]
    return pieces


def _blocks(pieces: list[Piece], block_rows: int) -> list[list[Piece]]:
    blocks: list[list[Piece]] = [[]]
    for piece in pieces:
        if sum(p.rows for p in blocks[-1]) >= block_rows:
            blocks.append([])
        blocks[-1].append(piece)
    return [block for block in blocks if block]


def _order(rows: int, block: int, rank: int, shuffle: tuple[int, int] | None) -> NDArray[np.int64]:
    if shuffle is None:
        return np.arange(rows)
    seed, epoch = shuffle
    return generator(seed, "rows", f"{epoch}/{rank}/{block}").permutation(rows)
