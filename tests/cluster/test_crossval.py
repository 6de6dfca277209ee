"""Cross-validation's promise: every photograph is scored once, out of fold, and the figures are pooled."""

import json

import pyarrow.parquet as pq
from dermaspark.crossval import cross_validate

SMALL = ("image.height=16", "image.width=16", "augment.copies=0", "audit.near_copies=false")
SHORT = ("network.hidden=[16]", "train.batch_size=16", "train.learning_rate=1e-3", "train.epochs=2")


def test_each_photograph_is_scored_by_the_model_that_did_not_see_it(spark, configure, source, tmp_path):
    arguments = (f"input.path={source}", f"output.path={tmp_path}/out", "split.folds=2", *SMALL, *SHORT)
    figures = cross_validate(spark, configure(*arguments))
    assert list(figures["splits"]) == ["out_of_fold"]
    assert figures["splits"]["out_of_fold"]["n"] == 120
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == figures
    rows = pq.read_table(tmp_path / "out" / "predictions").to_pylist()
    assert len({row["id"] for row in rows}) == len(rows) == 120
    right = sum(row["label"] == row["predicted"] for row in rows)
    assert figures["splits"]["out_of_fold"]["accuracy"] == right / 120
    assert figures["protocol"]["folds"] == 2
