"""The whole pipeline as a stranger runs it: spark-submit from another folder, on one process or on a real cluster."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from dermaspark import bundle
from dermaspark.dataset import read_manifest
from dermaspark.evaluation import check_match
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    *("image.height=16", "image.width=16", "augment.copies=1", "split.validation=0.15"),
    *("features.families=[patches,covariance]", "features.components=8"),
)
SHORT = ("network.width=16", "train.batch_size=16", "train.epochs=4")


def submit(folder: Path, master: str, job: str, *arguments: str) -> subprocess.CompletedProcess:
    """Run a job with .venv/bin on PATH and nothing else of the checkout in its environment."""
    environment = {name: os.environ[name] for name in ("HOME", "LANG", "JAVA_HOME") if name in os.environ}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    command = ["spark-submit", "--master", master, "--conf", "spark.driver.bindAddress=127.0.0.1"]
    command += ["--conf", "spark.driver.host=127.0.0.1", str(ROOT / "jobs" / f"{job}.py"), *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=280)


def succeed(*arguments) -> str:
    done = submit(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def first_run(source, tmp_path_factory) -> Path:
    """Preprocess, train and evaluate in local[2]."""
    folder = tmp_path_factory.mktemp("local")
    succeed(folder, "local[2]", "preprocess", f"input.path={source}", "output.path=dataset", *SMALL)
    train_and_evaluate(folder, "local[2]", folder)
    return folder


def train_and_evaluate(folder: Path, master: str, dataset: Path) -> str:
    data = f"data.path={dataset}/dataset"
    succeed(folder, master, "train", data, "model.path=model", *SHORT)
    return succeed(folder, master, "evaluate", data, "model.path=model", "report.path=report")


def figures(folder: Path) -> dict:
    return json.loads((folder / "report" / "metrics.json").read_text())


def test_every_count_adds_up_and_the_report_holds_what_is_promised(first_run, source):
    of = figures(first_run)
    assert of["dataset"]["counts"]["found"] == 138
    assert sum(of["splits"][split]["n"] for split in ("train", "val", "test")) == 138
    assert set(of) >= {"splits", "classes", "dataset", "model", "created", "protocol"}
    test = of["splits"]["test"]
    keys = {"n", "accuracy", "accuracy_ci95", "balanced_accuracy", "macro_auc", "log_loss", "ece"}
    assert set(test) >= keys | {"confusion_matrix", "per_class", "by", "priors"}
    assert sum(map(sum, test["confusion_matrix"])) == test["n"] == 18
    predictions = pq.read_table(first_run / "report" / "predictions").to_pylist()
    assert len(predictions) == 138
    assert set(test["importance"]) == {"patches", "covariance"}
    assert test["refused"]["share"] < 0.5
    assert test["abstaining"] is None or test["abstaining"]["n"] == 18
    kept = json.loads((first_run / "model" / "bundle.json").read_text())["thresholds"]
    assert kept["risk"][0] == pytest.approx(1 - of["splits"]["val"]["accuracy"]) and kept["threshold"][0] == 0
    assert of["abstaining"]["fitted_on"] == "val"
    right = [row["predicted"] == row["label"] for row in predictions if row["split"] == "test"]
    assert test["accuracy"] == sum(right) / 18
    for row in predictions:
        assert Path(row["path"].removeprefix("file://")).parent.name == row["label"]
        assert row["probability"] == max(row["probabilities"])
    page = (first_run / "report" / "report.html").read_text()
    assert f"would refuse {test['refused']['n']} (" in page
    assert "<html" in page and "http://" not in page.replace("http://www.w3.org", "")


def test_predict_gives_what_evaluate_gave(first_run, source):
    evaluated = {row["id"]: row for row in pq.read_table(first_run / "report" / "predictions").to_pylist()}
    model = f"model.path={first_run}/model"
    everything = (model, "model.gate=false")
    succeed(first_run, "local[2]", "predict", *everything, f"input.path={source}/Test", "output.path=new")
    rows = pq.read_table(first_run / "new").to_pylist()
    assert len(rows) == 18
    for row in rows:
        expected = evaluated[row["path"].removeprefix(f"file://{source.parent}/")]
        assert row["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-6)
    one = rows[0]["path"].removeprefix("file://")
    out = succeed(first_run, "local[2]", "predict", *everything, f"input.path={one}", "output.path=one")
    assert f"{rows[0]['path']}  {rows[0]['predicted']} ({rows[0]['probability']:.3f})" in out


def test_a_model_that_reads_pixels_refuses_nothing_and_its_report_says_so(first_run, tmp_path):
    data, pixels = f"data.path={first_run}/dataset", ("network.name=seed", "network.hidden=[8]")
    succeed(tmp_path, "local[2]", "train", data, "model.path=model", *SHORT, *pixels)
    succeed(tmp_path, "local[2]", "evaluate", data, "model.path=model", "report.path=report")
    assert not any("refused" in of for of in figures(tmp_path)["splits"].values())
    page = (tmp_path / "report" / "report.html").read_text()
    assert "would refuse" not in page and "It knows the classes above and no other" in page
    document, manifest = bundle.read_document(f"file://{tmp_path}/model"), read_manifest(f"file://{first_run}/dataset")
    elsewhere = manifest.preprocessing | {"features": {"sha256": "of other photographs"}}
    check_match("elsewhere", replace(manifest, preprocessing=elsewhere), "model", document)


def test_predict_refuses_what_is_not_like_its_photographs(first_run, tmp_path):
    (tmp_path / "odd").mkdir()
    Image.new("RGB", (60, 45), "white").save(tmp_path / "odd" / "blank.png")
    noise = np.random.Generator(np.random.Philox(0)).integers(0, 256, (45, 60, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "odd" / "noise.png")
    out = succeed(tmp_path, "local[2]", "predict", f"model.path={first_run}/model", "input.path=odd", "output.path=new")
    rows = pq.read_table(tmp_path / "new").to_pylist()
    assert [row["status"] for row in rows] == ["refused: not like the photographs that the model was trained on"] * 2
    assert {row["predicted"] for row in rows} == {row["probabilities"] for row in rows} == {None}
    assert out.count("refused: ") == 2


@pytest.mark.cluster
def test_executors_of_their_own_give_the_same_figures(first_run, tmp_path):
    train_and_evaluate(tmp_path, "local-cluster[2,1,3072]", first_run)
    same_figures(figures(tmp_path), figures(first_run))


@pytest.mark.cluster
def test_a_standalone_cluster_gives_the_same_figures(first_run, tmp_path):
    environment = {**os.environ, "DERMASPARK_CLUSTER": str(tmp_path / "cluster")}
    script = [str(ROOT / "scripts" / "local_cluster.sh")]
    started = subprocess.run([*script, "start"], env=environment, capture_output=True, text=True, timeout=120)
    try:
        assert started.returncode == 0, started.stderr
        train_and_evaluate(tmp_path, started.stdout.strip(), first_run)
    finally:
        subprocess.run([*script, "stop"], env=environment, check=True, timeout=60)
    same_figures(figures(tmp_path), figures(first_run))


def same_figures(these: dict, those: dict) -> None:
    for split in ("train", "val", "test"):
        for name in ("accuracy", "balanced_accuracy", "macro_auc", "log_loss"):
            assert these["splits"][split][name] == pytest.approx(those["splits"][split][name], abs=1e-3)


@pytest.mark.parametrize(
    ("job", "arguments", "message"),
    [
        ("preprocess", ["input.path=nowhere"], "input.path=file://{folder}/nowhere: no such folder"),
        ("preprocess", ["input.paht=data"], "input.paht: unknown key"),
        (
            "train",
            ["train.epochs=ten"],
            "train.epochs: Value 'ten' of type 'str' could not be converted to Integer",
        ),
        ("train", ["data.path=nowhere"], "data.path=file://{folder}/nowhere: no such folder; make a dataset"),
        ("train", ["data.path={run}/dataset", "model.path=m", "train.num_processes=5"], "needs 5 task slots"),
        (
            "train",
            ["data.path={run}/dataset", "model.path={run}/model"],
            "is finished already; overwrite=true",
        ),
        ("evaluate", ["data.path={run}/dataset", "model.path=nowhere"], "nowhere: no bundle.json"),
        (
            "evaluate",
            ["data.path={run}/dataset", "model.path={run}/model", "report.path={run}/report"],
            "is finished",
        ),
        (
            "predict",
            ["model.path={run}/model", "input.path=no*.jpg"],
            "no such file or folder, and nothing matches",
        ),
    ],
)
def test_a_mistake_ends_in_one_clear_line(first_run, tmp_path, job, arguments, message):
    filled = [argument.format(run=first_run, folder=tmp_path) for argument in arguments]
    done = submit(tmp_path, "local[2]", job, *filled)
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message.format(run=first_run, folder=tmp_path) in errors[0]
    assert "Traceback" not in done.stderr and "\tat " not in done.stderr


def test_a_bundle_of_other_classes_is_refused(first_run, source, tmp_path):
    other = tmp_path / "other"
    for name in ("nevus", "melanoma"):
        (other / "Train").mkdir(parents=True, exist_ok=True)
        os.symlink(source / "Train" / name, other / "Train" / name)
    succeed(tmp_path, "local[2]", "preprocess", f"input.path={other}/Train", "output.path=dataset", *SMALL)
    done = submit(tmp_path, "local[2]", "evaluate", "data.path=dataset", f"model.path={first_run}/model")
    assert done.returncode == 2
    assert "a model of the classes melanoma, nevus, vascular lesion; the dataset" in done.stderr
