"""The stream from disk to a rank: petastorm reads the plan's files, and batches come out in the plan's order."""

import warnings
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dermaspark.dataset import DataFile, check_content, check_size
from dermaspark.plan import Piece, RankPlan
from dermaspark.storage import join

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # petastorm greets its importers with the deprecations of its own imports
    from petastorm import make_batch_reader


BYTES_AHEAD = 16 << 20  # of batches that wait for the network, so that a block can be read in the meantime
BATCHES_AHEAD = 32  # at most


class Rows(NamedTuple):
    inputs: NDArray[Any]  # (n, ...), as a Batch has them
    labels: NDArray[np.int32]  # (n,)


@dataclass(frozen=True)
class Batch:
    inputs: NDArray[Any]  # (batch_size, ...) uint8 pixels or float32 features; zeros where there is no row
    labels: NDArray[np.int32]  # (batch_size,)
    real: NDArray[np.float32]  # (batch_size,) 1 for a row, 0 for padding


class Stream:
    """Batches of one rank, epoch after epoch, over the files of one dataset."""

    def __init__(self, dataset_url: str, files: list[DataFile], column: str, shape: tuple[int, ...]):
        """`files`: what a plan's file indices point into; `column`: image or features; `shape`: of a row of it."""
        self.url, self.files, self.column, self.shape = dataset_url, files, column, shape
        self.dtype = np.dtype(np.uint8 if column == "image" else np.float32)
        self._verified: set[str] = set()

    def batches(self, plan: RankPlan) -> Iterator[Batch]:
        """Exactly `plan.steps` batches of `plan.batch_size` rows each, padding included.

        Raises:
            UserError: a file of the dataset is missing, damaged or not the one that the manifest names.
        """
        blocks = self._blocks(plan)
        left = np.empty(0, np.int64)  # rows of the block that are still to come
        for wanted in plan.batch_rows:
            inputs = np.zeros((plan.batch_size, *self.shape), self.dtype)
            labels = np.zeros(plan.batch_size, np.int32)
            filled = 0
            while filled < wanted:
                if not len(left):
                    block, left = next(blocks)
                taken, left = left[: wanted - filled], left[wanted - filled :]
                here = slice(filled, filled + len(taken))
                block.inputs.take(taken, 0, inputs[here], mode="clip")  # numpy buffers what it checks
                labels[here] = block.labels[taken]
                filled = here.stop
            yield Batch(inputs, labels, (np.arange(plan.batch_size) < wanted).astype(np.float32))

    def _blocks(self, plan: RankPlan) -> Iterator[tuple[Rows, NDArray[np.int64]]]:
        """Each block's rows as they stand, and in which order they are wanted."""
        groups = self._groups([piece.file for block in plan.blocks for piece in block])
        for pieces, order in zip(plan.blocks, plan.orders, strict=True):
            block = Rows(np.empty((len(order), *self.shape), self.dtype), np.empty(len(order), np.int32))
            start = 0
            for piece in pieces:
                here = slice(start, start + piece.rows)
                self._fill(Rows(block.inputs[here], block.labels[here]), piece, groups)
                start = here.stop
            yield block, order

    def _fill(self, rows: Rows, piece: Piece, groups: Iterator[Any]) -> None:
        """Rows of a piece, from the row groups of its file, all of which are taken."""
        file = self.files[piece.file]
        self._verify(file)
        first = 0  # of a group, in the file
        while first < file.rows:
            group = next(groups)
            end = first + len(group.label)
            low, high = max(piece.start, first), min(piece.stop, end)
            if low < high:
                here, there = slice(low - piece.start, high - piece.start), slice(low - first, high - first)
                rows.labels[here] = group.label[there]
                self._copy(getattr(group, self.column)[there], rows.inputs[here])
            first = end

    def _copy(self, values: Any, inputs: NDArray[Any]) -> None:
        if self.column != "image":
            inputs[:] = np.asarray(values, self.dtype).reshape(inputs.shape)
            return
        for row, value in zip(inputs.reshape(len(inputs), -1), values, strict=True):
            row[:] = np.frombuffer(value, np.uint8)

    def _groups(self, indices: list[int]) -> Iterator[Any]:
        """The row groups of the files, in the order asked for."""
        if not indices:
            return
        self._find([self.files[index] for index in indices])
        urls = [join(self.url, self.files[index].path) for index in indices]
        with self._open(urls, indices) as reader:
            yield from reader

    def _open(self, urls: list[str], indices: list[int]) -> Any:
        """Petastorm's reader of whole files. It reads their footers now, before their content is verified."""
        try:
            # One reading thread keeps the order of the list; a pool of processes or a disk cache would unpickle.
            return make_batch_reader(
                urls,
                schema_fields=[f"{self.column}$", "label$"],  # patterns
                reader_pool_type="thread",
                workers_count=1,
                shuffle_row_groups=False,
                num_epochs=1,
            )
        except (pa.ArrowException, OSError):
            for index in indices:  # whichever is to blame is named
                self._verify(self.files[index])
            raise

    def _find(self, files: list[DataFile]) -> None:
        """Look for every file before petastorm opens the first, in case one is missing or cut short."""
        for file in files:
            check_size(self.url, file)

    def _verify(self, file: DataFile) -> None:
        """Compare a file's content with the manifest before its first use."""
        if file.path in self._verified:
            return
        check_content(self.url, file)
        self._verified.add(file.path)


def ahead(batches: Iterator[Batch]) -> Generator[Batch]:
    """The same batches, some of them assembled in a thread while the caller works; close it where they don't all go."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="stream")
    waiting: deque[Future[Batch | None]] = deque([pool.submit(next, batches, None)])
    try:
        while (batch := waiting.popleft().result()) is not None:
            while len(waiting) < min(BATCHES_AHEAD, max(2, BYTES_AHEAD // batch.inputs.nbytes)):
                waiting.append(pool.submit(next, batches, None))
            yield batch
    finally:
        pool.shutdown(cancel_futures=True)
