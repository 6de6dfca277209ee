"""What is read of a photograph's file, and what is never opened."""

import os

import pytest
from dermaspark.photographs import measure_one


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
