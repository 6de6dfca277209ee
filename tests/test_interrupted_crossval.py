"""An interrupted cross-validation goes on with the same photographs, tables and settings alone."""

from pathlib import Path

import pytest
from conftest import draw_source
from dermaspark import storage
from dermaspark.crossval import check_same, cross_validate, what_decides
from dermaspark.errors import UserError

RUN = ("audit.near_copies=false", "split.policy=relabel", "train.num_processes=2")


@pytest.fixture
def begin(spark, configure, tmp_path):
    """What decides the figures of a run on the test's photographs and tables, with arguments."""
    draw_source(tmp_path / "these", 3, 1)
    (tmp_path / "lesions.csv").write_text("image_id,lesion_id,age\na,1,70\nb,,\n")
    (tmp_path / "classes.csv").write_text("image_id,class\na,nevus\n")
    tables = (f"input.groups={tmp_path}/lesions.csv", f"split.relabel={tmp_path}/classes.csv")

    def begun(*arguments: str) -> dict:
        spark.catalog.clearCache()  # a run that goes on is another session, which reads the tables again
        return what_decides(spark, configure(f"input.path={tmp_path}/these", *tables, *RUN, *arguments))

    return begun


def test_a_run_goes_on_with_the_same_and_what_decides_nothing_may_change(begin, tmp_path):
    url = f"file://{tmp_path}/crossval.json"
    storage.write_json(url, begin())
    (tmp_path / "lesions.csv").write_text("image_id,lesion_id,age\nb,,\na,1,70\n")
    check_same(url, begin("train.num_processes=7", "train.max_restarts=0", "report.risk=0.2", "log_level=debug"))


@pytest.mark.parametrize(
    ("argument", "key"),
    [
        ("input.path={these: PLACE/these/Train}", "input.path"),
        ("split.seed=1", "split.seed"),
        ("augment.copies=7", "augment.copies"),
        ("image.width=32", "image.width"),
        ("features.families=[covariance]", "features.families"),
        ("features.photographs=1000", "features.photographs"),
        ("audit.near_copies=true", "audit.near_copies"),
        ("network.heads=9", "network.heads"),
        ("train.epochs=99", "train.epochs"),
        ("train.early_stopping_patience=2", "train.early_stopping_patience"),
    ],
)
def test_a_run_does_not_go_on_with_other_settings(begin, tmp_path, argument, key):
    url = f"file://{tmp_path}/crossval.json"
    storage.write_json(url, begin())
    with pytest.raises(UserError, match=f"crossval.json: an unfinished run began with {key}="):
        check_same(url, begin(argument.replace("PLACE", str(tmp_path))))


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda at: (at / "these/Train/nevus/new.jpg").write_bytes(b""), "the names of the photographs"),
        (lambda at: (at / "lesions.csv").write_text("image_id,lesion_id,age\na,1,70\nb,1,\n"), "the rows of input.gro"),
        (lambda at: (at / "lesions.csv").write_text("image_id,lesion_id,sex\na,1,70\nb,,\n"), "the rows of input.gro"),
        (lambda at: (at / "lesions.csv").write_text("image_id,lesion_id,age\na,,1\nb,,\n"), "the rows of input.gro"),
        (lambda at: (at / "classes.csv").write_text("image_id,class\na,melanoma\n"), "the rows of split.relabel"),
    ],
)
def test_a_run_does_not_go_on_with_other_photographs_or_tables(begin, tmp_path, change, key):
    url = f"file://{tmp_path}/crossval.json"
    storage.write_json(url, begin())
    change(tmp_path)
    with pytest.raises(UserError, match=f"crossval.json: an unfinished run began with {key}"):
        check_same(url, begin())


def test_a_folder_that_another_job_made_is_left_alone(spark, configure, tmp_path):
    source, out = draw_source(tmp_path / "these", 3, 1), tmp_path / "dataset"
    storage.claim(f"file://{out}", "manifest.json", "output.path", overwrite=False, known=())
    (out / "manifest.json").write_text("{}")
    before = sorted(Path(out).iterdir())
    with pytest.raises(UserError, match="holds manifest.json, which is not of an earlier run"):
        cross_validate(spark, configure(f"input.path={source}", f"output.path={out}"))
    assert sorted(Path(out).iterdir()) == before


def test_folds_of_an_earlier_version_are_left_alone(spark, configure, tmp_path):
    source, out = draw_source(tmp_path / "these", 3, 1), tmp_path / "out"
    storage.claim(f"file://{out}", "metrics.json", "output.path", overwrite=False, known=())
    (out / "fold-0").mkdir()
    with pytest.raises(UserError, match="an earlier version began a run there; overwrite=true starts afresh"):
        cross_validate(spark, configure(f"input.path={source}", f"output.path={out}"))
    assert (out / "fold-0").exists()
