"""The stream's promises: the plan's rows in the plan's order through petastorm, and no code from a dataset."""

import pickle
import re
import shutil
import threading
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from dermaspark.dataset import read_manifest
from dermaspark.errors import UserError
from dermaspark.job import RAISED_IN_A_TASK
from dermaspark.plan import plan_rank, shuffle_files
from dermaspark.scoring import score_dataset
from dermaspark.stream import BATCHES_AHEAD, BYTES_AHEAD, Batch, Stream, ahead
from pyspark.errors import PySparkException


def streamed(url, ranks, batch=16, epoch=0):
    """(images, labels) of the real rows that each rank is given, in order."""
    manifest = read_manifest(url)
    stream = Stream(url, manifest.files, "image", (16, 16, 3))
    files = [i for i, file in enumerate(manifest.files) if file.split == "train" and file.copy == 0]
    rows = [file.rows for file in manifest.files]
    for rank in range(ranks):
        plan = plan_rank(
            shuffle_files(files, 0, epoch),
            rows,
            rank=rank,
            ranks=ranks,
            global_batch=batch,
            block_rows=50,
            shuffle=(0, epoch),
        )
        batches = list(stream.batches(plan))
        assert len(batches) == plan.steps
        assert {batch.inputs.shape for batch in batches} == {(plan.batch_size, 16, 16, 3)}
        yield [(b.inputs[i], b.labels[i]) for b in batches for i in np.flatnonzero(b.real)]


@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_every_training_row_comes_out_once_over_all_ranks(dataset, ranks):
    got = sorted((image.tobytes(), label) for rows in streamed(dataset, ranks) for image, label in rows)
    folder = dataset.removeprefix("file://")
    stored = []
    for file in read_manifest(dataset).of("train"):
        table = pq.ParquetFile(f"{folder}/{file.path}").read().to_pydict()
        stored += zip(table["image"], table["label"], strict=True)
    assert got == sorted(stored)


def test_an_epoch_comes_out_the_same_again_and_the_next_one_otherwise(dataset):
    first, again, second = ([label for _, label in next(streamed(dataset, 1, epoch=e))] for e in (0, 0, 1))
    assert first == again != second


def numbered(count, megabytes=0.001, made=None):
    """Batches whose only label is their number; `made` is told of each."""
    for number in range(count):
        if made is not None:
            made.append(number)
        yield Batch(np.zeros(int(megabytes * 2**20), np.uint8), np.array([number], np.int32), np.ones(1, np.float32))


def settled(made):
    """How many were made, once no more are."""
    while (before := len(made)) != (time.sleep(0.3) or len(made)):
        pass
    return before


@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_batches_assembled_ahead_are_the_same_in_the_same_order(count):
    assert [int(batch.labels[0]) for batch in ahead(numbered(count))] == list(range(count))


@pytest.mark.parametrize(("megabytes", "waiting"), [(0.001, BATCHES_AHEAD), (4, BYTES_AHEAD >> 22), (64, 2)])
def test_no_more_wait_than_there_is_room_for(megabytes, waiting):
    made = []
    batches = ahead(numbered(100, megabytes, made))
    next(batches)
    assert settled(made) == 1 + waiting
    batches.close()
    assert len(made) == 1 + waiting
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("stream")]


def test_what_goes_wrong_ahead_is_raised_at_its_place():
    def failing():
        yield from numbered(3)
        raise UserError("a file is missing")

    batches = ahead(failing())
    assert [int(batch.labels[0]) for batch in islice(batches, 3)] == [0, 1, 2]
    with pytest.raises(UserError, match="a file is missing"):
        next(batches)


class Trap:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (Path(self.file),)


def test_no_pickle_in_a_dataset_is_read(dataset, tmp_path):
    copy = tmp_path / "dataset"
    shutil.copytree(dataset.removeprefix("file://"), copy)
    sprung = tmp_path / "sprung"
    schema = pq.read_schema(next(copy.rglob("*.parquet")))
    trap = pickle.dumps(Trap(str(sprung)))
    keys = (
        "dataset-toolkit.unischema.v1",
        "dataset-toolkit.num_row_groups_per_file.v1",
        "dataset-toolkit.rowgroups_index.v1",
    )
    planted = schema.with_metadata(dict.fromkeys(keys, trap))
    for folder in {copy, copy / "photographs", *(p.parent for p in copy.rglob("*.parquet"))}:
        for name in ("_common_metadata", "_metadata"):
            pq.write_metadata(planted, folder / name)
    rows = [row for rows in streamed(f"file://{copy}", 2) for row in rows]
    assert len(rows) == 102
    assert not sprung.exists()


def swap(folder):
    files = sorted(folder.glob("photographs/split=train/copy=0/*/*.parquet"))
    other = sorted(folder.glob("photographs/split=train/copy=1/*/*.parquet"))
    shutil.copy(other[0], files[0])


def cut(folder):
    file = next(folder.glob("photographs/split=train/copy=0/*/*.parquet"))
    file.write_bytes(file.read_bytes()[:-100])


def flip(folder):
    file = next(folder.glob("photographs/split=train/copy=0/*/*.parquet"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def flip_footer(folder):
    file = next(folder.glob("photographs/split=train/copy=0/*/*.parquet"))
    data = bytearray(file.read_bytes())
    data[-40:-8] = bytes(byte ^ 0xFF for byte in data[-40:-8])
    file.write_bytes(data)


def lose(folder):
    next(folder.glob("photographs/split=train/copy=0/*/*.parquet")).unlink()


@pytest.mark.parametrize("damage", [swap, cut, flip, flip_footer, lose])
def test_a_file_that_is_not_the_manifest_s_is_refused_by_name(dataset, tmp_path, damage):
    copy = tmp_path / "dataset"
    shutil.copytree(dataset.removeprefix("file://"), copy)
    damage(copy)
    with pytest.raises(
        UserError, match=r"\.parquet: (is not the file that the manifest names|is missing|has \d+ bytes)"
    ):
        list(streamed(f"file://{copy}", 1))


def same_bytes(here, there, name):
    return Path(there, name).exists() and Path(here, name).read_bytes() == Path(there, name).read_bytes()


@pytest.mark.parametrize("damage", [swap, cut, flip, flip_footer, lose])
def test_nor_is_it_scored(spark, dataset, tmp_path, damage):
    copy = tmp_path / "dataset"
    shutil.copytree(dataset.removeprefix("file://"), copy)
    damage(copy)
    whole = read_manifest(f"file://{copy}")
    damaged = [file for file in whole.files if not same_bytes(dataset.removeprefix("file://"), copy, file.path)]
    manifest = replace(whole, files=damaged)  # of several files a task that has a whole one would fail on the bundle
    document = {"classes": manifest.classes, "reads": "image"}
    with pytest.raises(PySparkException) as raised:
        score_dataset(spark, "file:///no/bundle", document, f"file://{copy}", manifest, f"file://{tmp_path}/scored")
    told = RAISED_IN_A_TASK.search(str(raised.value))
    assert told and re.match(r".*\.parquet: (is not the file|is missing|has \d+ bytes)", told[1])
