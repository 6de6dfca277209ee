"""Photographs under one key meet: each with its neighbours, on executors as in memory."""

from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from dermaspark import candidates
from dermaspark.fingerprint import fingerprint, thumbnails_of
from disguise import jpeg, lesion
from PIL import Image


def thumbnails(images: list[Image.Image]) -> np.ndarray:
    return thumbnails_of(fingerprint(jpeg(image), 10**9).thumbnail for image in images)


def test_of_many_alike_each_is_tried_with_its_neighbours_alone_and_they_are_counted(spark, monkeypatch):
    monkeypatch.setattr(candidates, "NEIGHBOURS", 3)
    n = 10
    number, key = np.arange(n), np.zeros(n, np.int64)
    a, b = candidates._neighbours(number, key, np.zeros(n, np.int64), np.ones(n, bool), start=0)
    assert set(zip(a.tolist(), b.tolist(), strict=True)) == {p for p in combinations(range(n), 2) if p[1] - p[0] <= 3}
    assert candidates._crowded(number, key).tolist() == list(range(4, n))


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_batches_do_not_decide_what_is_compared(size):
    rng = np.random.default_rng(0)
    n = 300
    columns = {
        "number": rng.permutation(n),
        "key": np.sort(rng.integers(0, 20, n)),
        "signature": rng.integers(0, 2**20, n) & rng.integers(0, 2**20, n) & rng.integers(0, 2**20, n),
        "whole": rng.integers(0, 2, n).astype(bool),
    }
    table = pa.RecordBatch.from_pydict(columns)

    def met(batch_size: int) -> list[tuple]:
        batches = [table.slice(i, batch_size) for i in range(0, n, batch_size)]
        rows = [row for batch in candidates._meet(batches) for row in batch.to_pylist()]
        return sorted({(one["a"], -1 if one["b"] is None else one["b"]) for one in rows})

    assert met(size) == met(n)
    assert len(met(n)) > 50


def test_photographs_in_memory_meet_as_on_executors(spark):
    rng = np.random.default_rng(0)
    alike = thumbnails([lesion(0)]) + rng.integers(-2, 3, (3 * candidates.NEIGHBOURS, 32, 32))  # more than are compared
    pictures = np.concatenate([alike.clip(0, 255).astype(np.uint8), thumbnails([lesion(seed) for seed in range(1, 9)])])
    number = rng.permutation(10**6)[: len(pictures)]
    rows = [(int(n), picture.tobytes()) for n, picture in zip(number, pictures, strict=True)]
    met = candidates.meet(spark.createDataFrame(rows, "number long, thumbnail binary")).where("b is not null").collect()
    here = number[candidates.meet_at_once(pictures, number)]
    assert {tuple(pair) for pair in here.tolist()} == {tuple(row) for row in met}
    assert len(here) == len(met) < len(alike) * (len(alike) - 1) / 2
    assert [len(candidates.meet_at_once(pictures[:n], number[:n])) for n in (0, 1)] == [0, 0]


def test_two_crops_are_not_compared():
    number, key, signature = np.arange(3), np.zeros(3, np.int64), np.zeros(3, np.int64)
    a, b = candidates._neighbours(number, key, signature, np.array([False, False, True]), start=0)
    assert sorted(zip(a.tolist(), b.tolist(), strict=True)) == [(0, 2), (1, 2)]
