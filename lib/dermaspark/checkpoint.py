"""Checkpoints of an unfinished run: written whole or not at all, checked when read, never unpickled."""

import errno
import hashlib
import json
import logging
import posixpath
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermaspark import storage
from dermaspark.arrays import pack, unpack
from dermaspark.errors import UserError

log = logging.getLogger("dermaspark")

# The hash of a file's content is in its name: nothing else has to be right for it to be checked.
NAME = re.compile(r"^checkpoint-(\d{5})-(\d{7})-([0-9a-f]{32})\.npz$")
KEPT = 2  # so that the one before is there when the last is damaged
# What a write that was cut off by a kill leaves (storage.write_bytes).
LEFT_BEHIND = re.compile(r"^\.checkpoint-\d{5}-\d{7}-[0-9a-f]{32}\.npz\.[0-9a-f]{32}$")
# No new start of the ranks mends these: a full disk, a quota, a limit, no permission, a file in the way.
HOPELESS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR}
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

    def check_writable(self) -> None:
        """UserError where the folder can't be written, before there is anything to write."""
        probe = storage.join(self.url, ".probe")
        with storage.writing_to(f"train.checkpoint_path={self.url}"):
            storage.write_bytes(probe, b"")
        storage.remove(probe)

    def write(self, checkpoint: Checkpoint) -> None:
        """Add a checkpoint, then drop those that are no longer needed.

        Raises:
            UserError: the folder can't take it; the checkpoints before it are as they were.
        """
        data = _pack(checkpoint)
        digest = hashlib.sha256(data).hexdigest()[:32]
        name = f"checkpoint-{checkpoint.epoch:05d}-{checkpoint.step:07d}-{digest}.npz"
        try:
            storage.write_bytes(storage.join(self.url, name), data)
        except OSError as error:
            if error.errno not in HOPELESS:
                raise
            raise UserError(
                f"{self.url}: can't take a checkpoint of {len(data)} bytes ({error.strerror}); mend that and start "
                "again: the run goes on from the checkpoint before it"
            ) from error
        self._drop_old()

    def read_last(self, whole_epoch: bool = False) -> Checkpoint | None:
        """The newest checkpoint that is not damaged, None where there is none.

        Args:
            whole_epoch: only one that stands at the start of an epoch (another number of ranks goes on from there).

        Raises:
            UserError: the newest that is whole was not written by this module.
        """
        for name in reversed(self._names()):
            if whole_epoch and _place(name)[1] != 0:
                continue
            data = storage.read_bytes(storage.join(self.url, name))
            if hashlib.sha256(data).hexdigest()[:32] == _place(name)[2]:
                return _unpack(data, storage.join(self.url, name), _place(name)[:2])
            log.warning("%s: is damaged; using what was before it", storage.join(self.url, name))
        return None

    def drop_after(self, epoch: int, step: int) -> None:
        """Remove what stands beyond a place that a run goes on from: it would pass for newer than what comes now."""
        for name in self._names():
            if _place(name)[:2] > (epoch, step):
                storage.remove(storage.join(self.url, name))

    def clear(self) -> None:
        for name in self._names() + self._names(LEFT_BEHIND):
            storage.remove(storage.join(self.url, name))

    def _names(self, pattern: re.Pattern[str] = NAME) -> list[str]:
        """Names of the checkpoints, oldest first; of whatever else is in the folder nothing is touched."""
        fs, path = storage.locate(self.url)
        if not fs.exists(path):
            return []
        fs.invalidate_cache()
        return sorted(n for n in (posixpath.basename(p) for p in fs.ls(path, detail=False)) if pattern.match(n))

    def _drop_old(self) -> None:
        names = self._names()
        at_epoch_start = [name for name in names if _place(name)[1] == 0]
        old = [name for name in names if name not in names[-KEPT:] and name not in at_epoch_start[-KEPT:]]
        for name in old + self._names(LEFT_BEHIND):
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
    return pack({STATE: text, **checkpoint.arrays})


def _unpack(data: bytes, url: str, place: tuple[int, int]) -> Checkpoint:
    """Raises UserError for what `_pack` did not make: an array of Python objects (a pickle), another archive."""
    try:
        arrays = unpack(data)
        state = json.loads(arrays.pop(STATE).tobytes())
        if (state["epoch"], state["step"]) != place:
            raise ValueError("it stands elsewhere than its name says")
        return Checkpoint(*place, arrays, state["state"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{url}: is not a checkpoint of this version ({error}); remove it") from error
