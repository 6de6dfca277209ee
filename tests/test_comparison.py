"""Two reports are compared photograph by photograph: as plain arithmetic does it, on what both scored and no more."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dermaspark import bootstrap
from dermaspark.comparison import as_text, compare
from dermaspark.errors import UserError
from dermaspark.randomness import generator
from scipy.stats import binom
from sklearn.metrics import balanced_accuracy_score

ROOT = Path(__file__).resolve().parents[1]
CLASSES = ["melanoma", "nevus", "wart"]


def table(skill: float, ids: range, name: str = "first") -> pd.DataFrame:
    """Predictions for the photographs `ids`; their labels and groups depend on the id alone."""
    truth = np.array([generator(1, "label", str(k)).choice(3, p=[0.2, 0.6, 0.2]) for k in ids])
    rng = generator(2, "predicted", name)
    predicted = np.where(rng.random(len(ids)) < skill, truth, rng.integers(0, 3, len(ids)))
    return pd.DataFrame(
        {
            "id": [f"p{k}" for k in ids],
            "group": [None if k % 5 == 0 else f"lesion {k // 3}" for k in ids],
            "label": [CLASSES[k] for k in truth],
            "predicted": [CLASSES[k] for k in predicted],
            "split": ["val" if k % 10 == 9 else "test" for k in ids],
            "status": "ok",
        }
    )


def report(folder: Path, predictions: pd.DataFrame, splits: tuple[str, ...] = ("val", "test"), **protocol) -> str:
    (folder / "predictions").mkdir(parents=True)
    predictions.iloc[::2].to_parquet(folder / "predictions" / "part-0.parquet")
    predictions.iloc[1::2].to_parquet(folder / "predictions" / "part-1.parquet")
    (folder / "metrics.json").write_text(json.dumps({"splits": {name: {} for name in splits}, "protocol": protocol}))
    return str(folder)


def test_figures_are_those_of_the_photographs_that_both_scored(spark, tmp_path) -> None:
    a, b = table(0.5, range(400)), table(0.8, range(100, 500), "second")
    b.loc[:9, "status"] = "truncated"
    found = compare(spark, report(tmp_path / "a", a), report(tmp_path / "b", b))
    both = a.merge(b[b["status"] == "ok"], on="id", suffixes=("", "_b")).query("split == 'test'").reset_index()
    right = {
        side: (both["label"] == both[name]).to_numpy() for side, name in (("a", "predicted"), ("b", "predicted_b"))
    }
    assert found["split"] == "test"
    assert found["n"] == len(both) < min(found["scored"])
    of = found["accuracy"]
    assert (of["a"], of["b"]) == (right["a"].mean(), right["b"].mean())
    assert of["difference"] == pytest.approx(right["b"].mean() - right["a"].mean())
    assert found["balanced_accuracy"]["b"] == pytest.approx(balanced_accuracy_score(both["label"], both["predicted_b"]))
    groups = both["group"].fillna(both["id"])
    weight = bootstrap.weights(groups.tolist())
    draws = ((right["b"] * 1 - right["a"]) @ weight) / weight.sum(axis=0)
    assert of["difference_ci95"] == pytest.approx(np.percentile(draws, [2.5, 97.5]))
    truth = both["label"].map(CLASSES.index).to_numpy(np.int64)
    balanced = [bootstrap.replicates(bootstrap.count(truth, right[side], groups.tolist()), 3)[1] for side in "ab"]
    expected = np.percentile(balanced[1] - balanced[0], [2.5, 97.5])
    assert found["balanced_accuracy"]["difference_ci95"] == pytest.approx(expected)
    only_a, only_b = (right["a"] & ~right["b"]).sum(), (right["b"] & ~right["a"]).sum()
    exact = 2 * binom.cdf(min(only_a, only_b), only_a + only_b, 0.5)
    assert found["mcnemar"] == {"only_a": only_a, "only_b": only_b, "p": pytest.approx(exact)}
    assert f"right in A alone {only_a}, in B alone {only_b}" in as_text(found)
    assert max(map(len, as_text(found).splitlines()[2:])) <= 80


def test_a_report_does_not_differ_from_itself(spark, tmp_path) -> None:
    a = table(0.5, range(50))
    found = compare(spark, report(tmp_path / "a", a), report(tmp_path / "b", a), "val")
    assert found["n"] == 5
    assert found["accuracy"]["difference_ci95"] == [0, 0]
    assert found["mcnemar"] == {"only_a": 0, "only_b": 0, "p": 1}


def test_in_an_outside_test_any_class_of_a_folder_is_right(spark, tmp_path) -> None:
    a = table(1.0, range(60)).assign(split="outside")
    folders = a.assign(label=np.where(a["label"] == "melanoma", "mel", "benign"))
    labels = {"mel": ["melanoma"], "benign": ["nevus", "wart"]}
    worse = folders.assign(predicted="nevus")
    paths = [report(tmp_path / name, of, ("outside",), labels=labels) for name, of in (("a", folders), ("b", worse))]
    found = compare(spark, *paths)
    assert found["accuracy"]["a"] == 1
    assert found["accuracy"]["b"] == (folders["label"] == "benign").mean()
    assert found["balanced_accuracy"]["b"] == 0.5


def test_what_can_not_be_compared_is_said_in_a_line(spark, tmp_path) -> None:
    a = report(tmp_path / "a", table(0.5, range(20)))
    other = report(tmp_path / "other", table(0.5, range(100, 120)))
    with pytest.raises(UserError, match="no photograph of test was scored in both"):
        compare(spark, a, other)
    folded = report(tmp_path / "folded", table(0.5, range(20)), ("out_of_fold",))
    with pytest.raises(UserError, match=r"no split in common: .*a has test, val; .*folded has out_of_fold"):
        compare(spark, a, folded)
    with pytest.raises(UserError, match="no split train in common"):
        compare(spark, a, a, "train")
    changed = report(tmp_path / "changed", table(0.5, range(20)).assign(label="wart"))
    with pytest.raises(UserError, match=r"p\d+: is \w+ in .*another class in .*changed"):
        compare(spark, a, changed)
    older = report(tmp_path / "older", table(0.5, range(20)).drop(columns="group"))
    with pytest.raises(UserError, match="older: its predictions have no column group"):
        compare(spark, a, older)
    with pytest.raises(UserError, match=r"nowhere/metrics.json: no such file"):
        compare(spark, a, str(tmp_path / "nowhere"))


def test_the_script_prints_a_table_and_ends_with_0_or_a_line_and_2(tmp_path) -> None:
    a, b = (report(tmp_path / name, table(skill, range(60), name)) for name, skill in (("a", 0.5), ("b", 0.9)))

    def run(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, str(ROOT / "scripts" / "compare.py"), *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)

    done = run(a, b, "--split", "test")
    assert done.returncode == 0, done.stderr
    assert "balanced accuracy" in done.stdout and "exact McNemar p" in done.stdout
    failed = run(a, "nowhere")
    assert failed.returncode == 2
    assert failed.stderr.splitlines()[-1].endswith("nowhere/metrics.json: no such file")
    assert "Traceback" not in failed.stderr
