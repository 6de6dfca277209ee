"""Checkpoints of an unfinished run: written whole or not at all, checked when read, never unpickled."""

import hashlib
import io
import json
import logging
import posixpath
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermaspark import storage
from dermaspark.errors import UserError

log = logging.getLogger("dermaspark")

# The hash of a file's content is in its name: nothing else has to be right for it to be checked.
NAME = re.compile(r"^checkpoint-(\d{5})-(\d{7})-([0-9a-f]{32})\.npz$")
KEPT = 2  # so that the one before is there when the last is damaged
STATE = "state"  # the array that holds the JSON of everything that is not an array


@dataclass(frozen=True)
class Checkpoint:
    """Where a run stands: `step` steps into `epoch` (both from 0)."""

    epoch: int
    step: int
    arrays: dict[str, NDArray[Any]]  # weights, optimizer and best weights
    state: dict[str, Any]  # identity, history, sums of the epoch in flight, callbacks


class CheckpointStore:
    """The checkpoints of one run in one folder, at a URL."""

    def __init__(self, url: str):
        self.url = url

    def write(self, checkpoint: Checkpoint) -> None:
        """Add a checkpoint, then drop those that are no longer needed."""
        data = _pack(checkpoint)
        digest = hashlib.sha256(data).hexdigest()[:32]
        name = f"checkpoint-{checkpoint.epoch:05d}-{checkpoint.step:07d}-{digest}.npz"
        storage.write_bytes(storage.join(self.url, name), data)
        self._drop_old()

    def read_last(self, whole_epoch: bool = False) -> Checkpoint | None:
        """The newest checkpoint that is not damaged, None where there is none.

        Args:
            whole_epoch: only one that stands at the start of an epoch (another number of ranks goes on from there).
        """
        for name in reversed(self._names()):
            if whole_epoch and _place(name)[1] != 0:
                continue
            data = storage.read_bytes(storage.join(self.url, name))
            if hashlib.sha256(data).hexdigest()[:32] == _place(name)[2]:
                return _unpack(data, name)
            log.warning("%s: is damaged; using the checkpoint before it", storage.join(self.url, name))
        return None

    def clear(self) -> None:
        for name in self._names():
            storage.remove(storage.join(self.url, name))

    def _names(self) -> list[str]:
        """Names of the checkpoints, oldest first."""
        fs, path = storage.locate(self.url)
        if not fs.exists(path):
            return []
        fs.invalidate_cache()
        return sorted(n for n in (posixpath.basename(p) for p in fs.ls(path, detail=False)) if NAME.match(n))

    def _drop_old(self) -> None:
        names = self._names()
        at_epoch_start = [name for name in names if _place(name)[1] == 0]
        for name in names:
            if name not in names[-KEPT:] and name not in at_epoch_start[-KEPT:]:
                storage.remove(storage.join(self.url, name))


def check_identity(url: str, stored: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raises UserError naming the first thing in which a checkpoint is not of the run that is wanted."""
    for key in sorted(wanted.keys() | stored.keys()):
        if stored.get(key) != wanted.get(key):
            raise UserError(
                f"{url}: the unfinished run there has {key}={stored.get(key)}, this one {wanted.get(key)}; "
                "overwrite=true starts afresh, or name another train.checkpoint_path"
            )


def _place(name: str) -> tuple[int, int, str]:
    match = NAME.match(name)
    assert match
    return int(match[1]), int(match[2]), match[3]


def _pack(checkpoint: Checkpoint) -> bytes:
    state = {"epoch": checkpoint.epoch, "step": checkpoint.step, "state": checkpoint.state}
    text = np.frombuffer(json.dumps(state, allow_nan=True).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{STATE: text}, **checkpoint.arrays)
    return buffer.getvalue()


def _unpack(data: bytes, name: str) -> Checkpoint:
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        state = json.loads(file[STATE].tobytes())
        arrays = {key: file[key] for key in file.files if key != STATE}
    return Checkpoint(state["epoch"], state["step"], arrays, state["state"])
