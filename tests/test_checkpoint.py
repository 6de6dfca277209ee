"""Checkpoints' promises: written whole or not at all, damage noticed, nothing unpickled, nothing foreign touched."""

import hashlib
import io
import logging
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from dermaspark.checkpoint import Checkpoint, CheckpointStore, check_identity
from dermaspark.errors import UserError
from hypothesis import given
from hypothesis import strategies as st

STATE = {"identity": {"train.seed": 0}, "history": [{"epoch": 0, "loss": 1 / 3}], "plateau": {"best": float("inf")}}


def checkpoint(epoch: int, step: int = 0) -> Checkpoint:
    rng = np.random.default_rng((epoch, step))
    arrays = {"weights/0": rng.normal(size=(7, 5)).astype(np.float32), "optimizer/0": np.array(epoch, np.int64)}
    return Checkpoint(epoch, step, arrays, STATE)


@pytest.fixture
def store(tmp_path) -> CheckpointStore:
    return CheckpointStore(f"file://{tmp_path}/checkpoints")


def files(store: CheckpointStore) -> list[Path]:
    return sorted(Path(store.url.removeprefix("file://")).iterdir())


def plant(store: CheckpointStore, data: bytes, epoch: int = 9) -> Path:
    """A file that its name's hash vouches for, as whoever can write to the folder can make one."""
    folder = Path(store.url.removeprefix("file://"))
    folder.mkdir(exist_ok=True)
    file = folder / f"checkpoint-{epoch:05d}-0000000-{hashlib.sha256(data).hexdigest()[:32]}.npz"
    file.write_bytes(data)
    return file


def archive(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        for name, data in members.items():
            opened.writestr(f"{name}.npy", data)
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def same(a: Checkpoint, b: Checkpoint) -> bool:
    arrays = a.arrays.keys() == b.arrays.keys() and all(
        np.array_equal(a.arrays[name], b.arrays[name]) and a.arrays[name].dtype == b.arrays[name].dtype
        for name in a.arrays
    )
    return arrays and (a.epoch, a.step, a.state) == (b.epoch, b.step, b.state)


def test_a_checkpoint_comes_back_as_it_was(store):
    assert store.read_last() is None
    store.write(checkpoint(3, 17))
    assert same(store.read_last(), checkpoint(3, 17))


def test_the_last_two_are_kept_and_the_last_two_that_stand_at_an_epochs_start(store):
    for epoch, step in [(1, 0), (2, 0), (3, 0), (3, 5), (3, 9), (3, 12)]:
        store.write(checkpoint(epoch, step))
    kept = [tuple(map(int, file.name.split("-")[1:3])) for file in files(store)]
    assert kept == [(2, 0), (3, 0), (3, 9), (3, 12)]
    assert store.read_last().step == 12
    assert (store.read_last(whole_epoch=True).epoch, store.read_last(whole_epoch=True).step) == (3, 0)


def test_what_stands_beyond_the_place_that_a_run_goes_on_from_does_not_outlive_it(store):
    for epoch, step in [(2, 0), (3, 0), (3, 90), (3, 100)]:  # of two ranks
        store.write(checkpoint(epoch, step))
    store.drop_after(3, 0)  # three ranks go on from the start of the epoch
    for step in (40, 50):
        store.write(checkpoint(3, step))
    kept = [tuple(map(int, file.name.split("-")[1:3])) for file in files(store)]
    assert kept == [(2, 0), (3, 0), (3, 40), (3, 50)]


@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_single_flipped_bit_is_noticed_and_the_checkpoint_before_it_used(tmp_path_factory, where, bit):
    store = CheckpointStore(f"file://{tmp_path_factory.mktemp('checkpoints')}")
    for epoch in (1, 2):
        store.write(checkpoint(epoch))
    data = bytearray(files(store)[-1].read_bytes())
    data[int(where * len(data))] ^= 1 << bit
    files(store)[-1].write_bytes(data)
    assert same(store.read_last(), checkpoint(1))


@pytest.mark.parametrize("share", [0, 0.5, 0.999])
def test_a_checkpoint_cut_short_is_noticed_and_the_one_before_it_used(store, share, caplog):
    for epoch in (1, 2):
        store.write(checkpoint(epoch))
    last = files(store)[-1]
    last.write_bytes(last.read_bytes()[: int(share * last.stat().st_size)])
    with caplog.at_level(logging.WARNING, "dermaspark"):
        assert same(store.read_last(), checkpoint(1))
    assert f"{last}: is damaged" in caplog.text


def test_where_every_checkpoint_is_damaged_there_is_none(store):
    for epoch in (1, 2):
        store.write(checkpoint(epoch))
    for file in files(store):
        file.write_bytes(file.read_bytes()[1:])
    assert store.read_last() is None


def test_foreign_files_are_neither_read_nor_removed(store):
    store.write(checkpoint(1))
    folder = files(store)[0].parent
    mine = files(store)[0].name
    foreign = ["thesis.tex", f"{mine}.bak", f"old-{mine}", "checkpoint-00009-0000000-best.npz", f"{mine[:-4]}.pkl"]
    for name in foreign:
        (folder / name).write_bytes(b"\x80\x04.")
    assert same(store.read_last(), checkpoint(1))
    for epoch in (2, 3, 4):
        store.write(checkpoint(epoch))
    store.clear()
    assert sorted(file.name for file in files(store)) == sorted(foreign)


def test_what_a_killed_write_left_behind_is_removed_by_the_next(store):
    store.write(checkpoint(1))
    whole = files(store)[0]
    half = whole.with_name(f".{whole.name}.{'0' * 32}")
    half.write_bytes(whole.read_bytes()[:100])
    assert same(store.read_last(), checkpoint(1))
    store.write(checkpoint(2))
    assert not half.exists()
    assert len(files(store)) == 2


class Planted:
    """What, once unpickled, makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_a_planted_pickle_never_runs(store, tmp_path):
    trace = tmp_path / "it ran"
    objects = np.empty(1, object)
    objects[0] = Planted(trace)
    state = np.frombuffer(b'{"epoch": 9, "step": 0, "state": {}}', np.uint8)
    raw = pickle.dumps(Planted(trace))
    for data in (archive(state=npy(state), weights=npy(objects)), archive(state=npy(objects)), raw):
        file = plant(store, data)
        with pytest.raises(UserError, match=f"{file.name}: is not a checkpoint of this version"):
            store.read_last()
        file.unlink()
    with pytest.raises(UserError, match="something that is no array"):
        plant(store, archive(state=npy(state), weights=raw)) and store.read_last()
    assert not trace.exists()
    np.load(io.BytesIO(npy(objects)), allow_pickle=True)
    assert trace.exists(), "the attack works where pickles are allowed"


def test_an_array_that_would_not_fit_into_memory_is_refused(store):
    header = io.BytesIO()
    shape = {"descr": "<f4", "fortran_order": False, "shape": (10**13,)}
    np.lib.format.write_array_header_1_0(header, shape)
    plant(store, archive(state=header.getvalue() + bytes(64)))
    with pytest.raises(UserError, match="is not a checkpoint of this version"):
        store.read_last()


def test_a_compressed_archive_is_refused_before_it_is_unpacked(store):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, state=np.zeros(10**6, np.uint8))
    plant(store, buffer.getvalue())
    with pytest.raises(UserError, match="it is compressed"):
        store.read_last()


def test_names_in_an_archive_lead_nowhere(store, tmp_path):
    state = npy(np.frombuffer(b'{"epoch": 9, "step": 0, "state": {}}', np.uint8))
    plant(store, archive(**{"state": state, "../../evil": npy(np.ones(2)), f"{tmp_path}/evil": npy(np.ones(2))}))
    assert store.read_last().epoch == 9
    assert [path.name for path in tmp_path.rglob("*") if "evil" in path.name] == []


def test_a_checkpoint_that_stands_elsewhere_than_its_name_says_is_refused(store):
    store.write(checkpoint(2))
    plant(store, files(store)[0].read_bytes(), epoch=7)
    with pytest.raises(UserError, match="stands elsewhere than its name says"):
        store.read_last()


def test_a_checkpoint_that_can_not_be_written_is_told_in_a_line_and_leaves_the_one_before(store):
    """Here by a limit on the size of files; tests/cluster/test_damage.py has a disk that is full."""
    import resource
    import signal

    store.write(checkpoint(1))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(UserError, match=r"checkpoints: can't take a checkpoint of \d+ bytes \(File too large\)"):
            store.write(checkpoint(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, previous)
    assert len(files(store)) == 1
    assert same(store.read_last(), checkpoint(1))


def test_a_checkpoint_of_another_run_is_refused_by_the_first_thing_that_differs():
    stored = {"network.hidden": [8], "train.seed": 0}
    check_identity("file:///c", stored, dict(stored))
    for wanted, message in [
        ({"network.hidden": [16], "train.seed": 1}, r"has network\.hidden=\[8\], this one \[16\]"),
        ({"network.hidden": [8]}, r"has train\.seed=0, this one None"),
        ({**stored, "train.optimizer": "sgd"}, r"has train\.optimizer=None, this one sgd"),
    ]:
        with pytest.raises(UserError, match=message):
            check_identity("file:///c", stored, wanted)
