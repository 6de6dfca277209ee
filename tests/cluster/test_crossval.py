"""Cross-validation's promise: every photograph is scored once, out of fold, and the figures are pooled."""

import html
import json

import pyarrow.parquet as pq
import pytest
from conftest import draw_source
from dermaspark.crossval import cross_validate
from dermaspark.errors import UserError

SMALL = ("image.height=16", "image.width=16", "augment.copies=0", "audit.near_copies=false")
SHORT = ("network.hidden=[16]", "train.batch_size=16", "train.learning_rate=1e-3", "train.epochs=2")


def test_each_photograph_is_scored_by_the_model_that_did_not_see_it(spark, configure, source, tmp_path):
    for path in draw_source(tmp_path / "clinic", 50, 0).rglob("*_0[0-3]?.jpg"):
        path.unlink()  # what is left is in no other source
    (tmp_path / "clinic" / "Train" / "nevus" / "empty.jpg").write_bytes(b"")
    sources = f"input.path=[{source},{tmp_path}/clinic]"
    arguments = (sources, f"output.path={tmp_path}/out", "split.folds=2", *SMALL, *SHORT)
    arguments += (f"train.checkpoint_path={tmp_path}/checkpoints",)
    figures = cross_validate(spark, configure(*arguments))
    assert list(figures["splits"]) == ["out_of_fold"]
    of = figures["splits"]["out_of_fold"]
    assert of["n"] == 150
    assert {name: part["n"] for name, part in of["by"]["source"].items()} == {"drawn": 120, "clinic": 30}
    assert figures["abstaining"]["fitted_on"] == "out_of_fold"
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == figures
    rows = pq.read_table(tmp_path / "out" / "predictions").to_pylist()
    assert len({row["id"] for row in rows}) == len(rows) == 150
    right = sum(row["label"] == row["predicted"] for row in rows)
    assert of["accuracy"] == right / 150
    assert figures["protocol"]["folds"] == 2
    assert figures["dataset"]["counts"] == {"found": 169, "unreadable": 1, "out_of_fold": 150}
    page = (tmp_path / "out" / "report.html").read_text()
    assert "set aside: can't be read" in html.unescape(page) and "not used" not in page
    # ---- what was not finished goes on where it stood, and with the same alone ----
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("fold-*/*/*.json")}
    (tmp_path / "out" / "metrics.json").unlink()
    with pytest.raises(UserError, match="began with train.epochs=2, not 3"):
        cross_validate(spark, configure(*arguments, "train.epochs=3"))
    again = cross_validate(spark, configure(*arguments))
    assert again["splits"] == figures["splits"]
    assert made == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("fold-*/*/*.json")}
    assert len(made) == 4
    # ---- from the start, where it is told to: other settings find no checkpoint, and no worker's model, of before ----
    other = cross_validate(spark, configure(*arguments, "overwrite=true", "train.epochs=1"))
    assert other["splits"] != figures["splits"]
