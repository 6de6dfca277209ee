"""What is read of a photograph's file, and what is never opened."""

import os

import pyarrow as pa
import pytest
from dermaspark.photographs import column_of, in_chunks, measure_one


@pytest.mark.parametrize("kind", ["device", "pipe"])
def test_what_has_no_end_is_set_aside_unopened(tmp_path, kind):
    path = tmp_path / "photo.jpg"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        os.symlink("/dev/null", path)
    status, _ = measure_one(f"file://{path}", "photograph", lambda data: {"n": len(data)})
    assert status == "not a regular file"


def test_a_link_to_a_photograph_is_read_and_one_to_nothing_is_told(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"1234")
    os.symlink(tmp_path / "photo.jpg", tmp_path / "link.jpg")
    os.symlink(tmp_path / "nothing", tmp_path / "broken.jpg")
    assert measure_one(f"file://{tmp_path}/link.jpg", "photograph", lambda data: {"n": len(data)}) == ("ok", {"n": 4})
    assert measure_one(f"file://{tmp_path}/broken.jpg", "photograph", lambda data: {})[0] != "ok"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
def test_rows_come_in_chunks_of_one_size_however_they_are_given(size):
    given = pa.RecordBatch.from_pydict({"n": list(range(50))})
    batches = [given.slice(start, size) for start in range(0, 50, size)] + [given.slice(0, 0)]
    chunks = [chunk.column("n").to_pylist() for chunk in in_chunks(batches, rows=8)]
    assert [len(chunk) for chunk in chunks] == [8] * 6 + [2]
    assert [n for chunk in chunks for n in chunk] == list(range(50))


@pytest.mark.parametrize("images", [[], [b"abc"], [b"abcdef", b"", b"ghi"]])
def test_images_are_joined_into_the_column_that_pyarrow_makes_of_them(images):
    column = column_of(images)
    column.validate(full=True)
    assert column.equals(pa.array(images, pa.binary()))
