"""The promises about paths: resolved once, written whole, and nothing of anybody else's removed."""

import os

import pytest
from dermaspark import storage
from dermaspark.errors import UserError


def test_every_path_becomes_a_full_url(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path, url in [
        ("a b/50%,=é", f"file://{tmp_path}/a b/50%,=é"),
        ("/x/../y/", "file:///y"),
        ("file:/x/y", "file:///x/y"),
        ("file:///x/y/", "file:///x/y"),
        ("s3a://bucket/x/", "s3a://bucket/x"),
        ("a:b", f"file://{tmp_path}/a:b"),
    ]:
        assert storage.resolve(path) == url
        assert storage.resolve(storage.resolve(path)) == storage.resolve(path)


def test_a_name_that_hadoop_takes_for_a_pattern_is_read_as_it_is(spark, tmp_path):
    url = f"file://{tmp_path}/run[1] {{a,b}} 50%"
    spark.range(3).write.parquet(url)
    assert spark.read.parquet(storage.literal(url)).count() == 3


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    url = f"file://{tmp_path}/a.json"
    storage.write_json(url, {"n": 1})
    with pytest.raises(ValueError):
        storage.write_json(url, {"n": float("nan")})
    with pytest.raises(TypeError):
        storage.write_bytes(url, "text")
    assert storage.read_json(url) == {"n": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def claim(folder, overwrite=False):
    storage.claim(f"file://{folder}", "marker.json", "output.path", overwrite, ("marker.json", "part-*"))


def test_a_finished_output_is_written_over_only_when_asked_for(tmp_path):
    claim(tmp_path)
    for name in ("marker.json", "part-0"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(UserError, match="output.path=.* is finished already; overwrite=true"):
        claim(tmp_path)
    assert len(os.listdir(tmp_path)) == 3
    claim(tmp_path, overwrite=True)
    assert os.listdir(tmp_path) == [storage.OURS]


def test_an_unfinished_output_is_cleared(tmp_path):
    claim(tmp_path)
    (tmp_path / "part-0").write_text("")
    claim(tmp_path)
    assert os.listdir(tmp_path) == [storage.OURS]


def test_a_folder_of_other_things_is_never_touched(tmp_path):
    claim(tmp_path)
    for name in ("marker.json", "thesis.tex"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(UserError, match="holds thesis.tex"):
        claim(tmp_path, overwrite=True)
    assert sorted(os.listdir(tmp_path)) == [storage.OURS, "marker.json", "thesis.tex"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_called_as_an_output_but_was_not_begun_here_is_never_touched(tmp_path, overwrite):
    (tmp_path / "part-0").mkdir()
    (tmp_path / "part-0" / "mine.jpg").write_text("the only copy")
    (tmp_path / "marker.json").write_text("{}")  # of somebody else's job
    with pytest.raises(UserError, match="holds marker.json, which is not of an earlier run"):
        claim(tmp_path, overwrite)
    assert (tmp_path / "part-0" / "mine.jpg").exists()


def test_what_is_reserved_stays_until_it_is_claimed_and_is_refused_as_a_claim_is(tmp_path):
    output = (f"file://{tmp_path}", "marker.json", "output.path")
    claim(tmp_path)
    for name in ("marker.json", "part-0"):
        (tmp_path / name).write_text("{}")
    storage.reserve(*output, overwrite=True, known=("part-*", "marker.json"))
    assert sorted(os.listdir(tmp_path)) == [storage.OURS, "marker.json", "part-0"]
    with pytest.raises(UserError, match="is finished already"):
        storage.reserve(*output, overwrite=False, known=("part-*", "marker.json"))
    with pytest.raises(UserError, match="holds part-0"):
        storage.reserve(*output, overwrite=True, known=("marker.json",))


def test_an_output_that_cant_be_written_is_told_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="output.path=.*file/out: can't be written"):
        claim(tmp_path / "file" / "out")
