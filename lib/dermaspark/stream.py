"""The stream from disk to a rank: petastorm reads the plan's files, and batches come out in the plan's order."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dermaspark.dataset import DataFile, check_content, check_size
from dermaspark.plan import RankPlan
from dermaspark.storage import join

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # petastorm greets its importers with the deprecations of its own imports
    from petastorm import make_batch_reader


Rows = tuple[NDArray[Any], NDArray[np.int32]]  # inputs and labels


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
        rows = self._rows(plan)
        held: list[Rows] = []
        for wanted in plan.batch_rows:
            inputs = np.zeros((plan.batch_size, *self.shape), self.dtype)
            labels = np.zeros(plan.batch_size, np.int32)
            filled = 0
            while filled < wanted:
                block_inputs, block_labels = held.pop() if held else next(rows)
                take = min(wanted - filled, len(block_labels))
                inputs[filled : filled + take] = block_inputs[:take]
                labels[filled : filled + take] = block_labels[:take]
                if take < len(block_labels):
                    held.append((block_inputs[take:], block_labels[take:]))
                filled += take
            yield Batch(inputs, labels, (np.arange(plan.batch_size) < wanted).astype(np.float32))

    def _rows(self, plan: RankPlan) -> Iterator[Rows]:
        """The rows of each block in the block's order."""
        files = self._files([piece.file for block in plan.blocks for piece in block])
        for block, order in zip(plan.blocks, plan.orders, strict=True):
            parts = [(piece, next(files)) for piece in block]
            inputs = np.concatenate([inputs[piece.start : piece.stop] for piece, (inputs, _) in parts])
            labels = np.concatenate([labels[piece.start : piece.stop] for piece, (_, labels) in parts])
            yield inputs[order], labels[order]

    def _files(self, indices: list[int]) -> Iterator[Rows]:
        """The rows of each file, whole, in the order asked for."""
        if not indices:
            return
        self._find([self.files[index] for index in indices])
        urls = [join(self.url, self.files[index].path) for index in indices]
        with self._open(urls, indices) as reader:
            groups = iter(reader)
            for index in indices:
                self._verify(self.files[index])
                yield self._join_groups(groups, self.files[index].rows)

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

    def _join_groups(self, groups: Iterator[Any], rows: int) -> Rows:
        inputs, labels, n = [], [], 0
        while n < rows:
            group = next(groups)
            values = getattr(group, self.column)
            flat = np.frombuffer(b"".join(values), np.uint8) if self.column == "image" else values
            inputs.append(np.asarray(flat, self.dtype).reshape(-1, *self.shape))
            labels.append(np.asarray(group.label, np.int32))
            n += len(labels[-1])
        return np.concatenate(inputs), np.concatenate(labels)

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
