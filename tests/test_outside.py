"""The outside test: folders of any names against a model's classes, counted as plain arithmetic counts them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import picture
from dermaspark import bundle, outside, prediction, storage, summary
from dermaspark.cleaning import under_white_light
from dermaspark.config import MALIGNANT
from dermaspark.errors import UserError
from dermaspark.labels import LabelMap
from dermaspark.metrics import curves, figures
from dermaspark.photo import decode
from dermaspark.randomness import generator
from dermaspark.sums import count
from sklearn import metrics as sk

CLASSES = ["actinic keratosis", "melanoma", "nevus", "squamous cell carcinoma"]
SETS = {"akiec": ["actinic keratosis", "squamous cell carcinoma"], "mel": ["melanoma"], "nv": ["nevus"]}
TABLE = "folder,class\n" + "".join(f"{folder}, {name}\n" for folder, names in SETS.items() for name in names)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """A bundle whose network has learned nothing, of 8x8 pixels."""
    import keras

    keras.utils.set_random_seed(3)
    flat = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten()]
    last = keras.layers.Dense(len(CLASSES), activation="softmax")
    url = f"file://{tmp_path_factory.mktemp('model')}/model"
    model = bundle.Bundle(
        model=keras.Sequential([keras.Input((8, 8, 3), dtype="uint8"), *flat, last]),
        reads="image",
        temperature=1.0,
        shifts=[0.0] * len(CLASSES),
        thresholds={"risk": [0.9, 0.05], "threshold": [0.0, 0.3]},
        classes=CLASSES,
        preprocessing={"height": 8, "width": 8, "channels": 3, "max_pixels": 1_000_000, "colour_constancy": True},
        class_counts={"actinic keratosis": 10, "melanoma": 20, "nevus": 60, "squamous cell carcinoma": 10},
        history=[],
        training={},
    )
    bundle.save(url, model)
    return url


@pytest.fixture
def folders(tmp_path) -> dict[str, Path]:
    """Two sources, one of them with Train and Test, and a table of groups."""
    for k in range(36):
        place = tmp_path / ("clinic/" + ("Train", "Test")[k % 2] if k < 18 else "archive") / list(SETS)[k % 3]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"p{k:02d}.jpg").write_bytes(picture(k, k % 3))
    (tmp_path / "archive" / "mel" / "empty.jpg").write_bytes(b"")
    rows = [f"p{k:02d},lesion {k // 2},{30 + k}" for k in range(36)]
    (tmp_path / "groups.csv").write_text("image_id,lesion_id,age\n" + "\n".join(rows))
    (tmp_path / "map.csv").write_text(TABLE)
    return {name: tmp_path / name for name in ("clinic", "archive", "groups.csv", "map.csv", "report")}


def test_folders_are_judged_by_the_classes_that_are_right_for_them(spark, configure, model, folders) -> None:
    arguments = [f"{key}={folders[name]}" for key, name in (("labels.map", "map.csv"), ("report.path", "report"))]
    sources = f"input.path=[{folders['clinic']},{folders['archive']}]"
    arguments += [f"model.path={model}", sources, f"input.groups={folders['groups.csv']}", "input.max_bad_fraction=0.1"]
    document = outside.evaluate(spark, configure(*arguments))
    assert document == json.loads((folders["report"] / "metrics.json").read_text())
    rows = pq.read_table(folders["report"] / "predictions").to_pylist()
    scored = [row for row in rows if row["status"] == "ok"]
    assert (len(rows), len(scored)) == (37, 36)
    assert document["dataset"]["counts"] == {"found": 37, "outside": 36, "unreadable": 1}
    assert document["classes"] == CLASSES
    assert document["protocol"]["labels"] == SETS
    assert list(document["splits"]) == ["outside"]
    of = document["splits"]["outside"]
    assert (of["rows"], of["columns"]) == (list(SETS), CLASSES)
    assert np.shape(of["confusion_matrix"]) == (3, 4)
    # Each is cleaned as the bundle's preprocessing says.
    row = scored[0]
    pixels = decode(Path(row["path"].removeprefix("file://")).read_bytes(), 8, 8, 1_000_000)
    expected = bundle.load(model).probabilities(under_white_light(pixels)[None])[0]
    assert row["probabilities"] == pytest.approx(expected.tolist(), abs=1e-6)
    right = [row["predicted"] in SETS[row["label"]] for row in scored]
    assert of["accuracy"] == np.mean(right)
    assert set(of["by"]["source"]) == {"clinic", "archive"}
    clinic = [hit for hit, row in zip(right, scored, strict=True) if row["source"] == "clinic"]
    assert of["by"]["source"]["clinic"]["accuracy"] == np.mean(clinic)
    assert set(of["by"]["age"]) == {"30-39", "40-49", "50-59", "60-69"}
    assert {row["group"] for row in scored} == {f"lesion {k}" for k in range(18)}
    assert of["clustered_ci95"]["accuracy"][0] <= of["accuracy"] <= of["clustered_ci95"]["accuracy"][1]
    assert (of["malignancy"]["n_malignant"], of["malignancy"]["n_benign"]) == (24, 12)
    # The threshold is the one that validation rows gave in training; nothing is fitted on these photographs.
    assert document["abstaining"] == {"wanted_risk": 0.1, "threshold": 0.3, "fitted_on": "val"}
    label_map = LabelMap.of_sets(SETS, CLASSES)
    probabilities = np.array([row["probabilities"] for row in scored])
    accepted = label_map.confidence(label_map.probabilities(probabilities), probabilities) >= 0.3
    assert (of["abstaining"]["accepted"], of["abstaining"]["n"]) == (accepted.sum(), 36)
    assert of["abstaining"]["risk"] == pytest.approx(1 - np.mean(np.array(right)[accepted]))
    assert of["risk_coverage"]["coverage"] == pytest.approx([k / 10 for k in range(1, 11)])
    assert of["risk_coverage"]["risk"][-1] == pytest.approx(1 - of["accuracy"])
    assert "akiec" in summary.as_text(document)
    page = (folders["report"] / "report.html").read_text()
    assert page.count("data:image/png;base64") == min(12, 36 - sum(right)) and "no picture" not in page


def test_figures_by_folder_equal_those_of_scikit_learn() -> None:
    sets = {**SETS, "keratinocyte": ["squamous cell carcinoma"]}  # its class is right for akiec too
    rng = generator(4, "outside", "")
    truth, probabilities = rng.integers(0, 4, 800), rng.dirichlet(np.full(4, 0.4), 800)
    label_map = LabelMap.of_sets(sets, CLASSES, MALIGNANT)
    of = figures(count(truth, probabilities, label_map), CLASSES, label_map)
    chance = np.stack([sum(probabilities[:, CLASSES.index(name)] for name in names) for names in sets.values()], axis=1)
    predicted = probabilities.argmax(axis=1)
    called = np.stack([[CLASSES[k] in names for k in predicted] for names in sets.values()], axis=1)
    right = called[np.arange(800), truth]
    assert of["accuracy"] == right.mean()
    assert of["balanced_accuracy"] == pytest.approx(np.mean([right[truth == k].mean() for k in range(4)]))
    aucs = [sk.roc_auc_score(truth == k, chance[:, k]) for k in range(4)]
    assert of["macro_auc"] == pytest.approx(np.mean(aucs), abs=1e-4)
    assert of["log_loss"] == pytest.approx(-np.log(chance[np.arange(800), truth]).mean(), abs=1e-9)
    for k, name in enumerate(sets):
        assert of["per_class"][name]["sensitivity"] == sk.recall_score(truth == k, called[:, k])
        assert of["per_class"][name]["precision"] == sk.precision_score(truth == k, called[:, k])
        assert of["per_class"][name]["specificity"] == sk.recall_score(truth != k, ~called[:, k])
    assert list(curves(count(truth, probabilities, label_map), label_map.names)["roc"]) == list(sets)
    # A melanoma called melanoma at 0.6 is right for one folder; what is right for none keeps its own probability.
    one = LabelMap.of_sets({"akiec": SETS["akiec"]}, CLASSES)
    of_classes = np.array([[0.3, 0.25, 0.0, 0.45], [0.1, 0.6, 0.2, 0.1]])
    assert one.confidence(one.probabilities(of_classes), of_classes) == pytest.approx([0.75, 0.6])


@pytest.mark.parametrize(
    ("job", "finished", "output"),
    [(outside.evaluate, "metrics.json", "report.path"), (prediction.predict, "_SUCCESS", "output.path")],
)
@pytest.mark.parametrize("broken", ["photographs", "model.keras", "bundle.json"])
def test_what_is_refused_leaves_an_earlier_result(
    spark, configure, model, tmp_path, job, finished, output, broken
) -> None:
    shutil.copytree(model.removeprefix("file://"), tmp_path / "model")
    (tmp_path / "empty" / "nevus").mkdir(parents=True)
    (tmp_path / "empty" / "nevus" / "notes.txt").write_text("no photograph")
    if broken != "photographs":
        (tmp_path / "empty" / "nevus" / "a.jpg").write_bytes(picture(1))
        (tmp_path / "model" / broken).write_text("{}")
    (tmp_path / "result").mkdir()
    for name in (storage.OURS, finished):
        (tmp_path / "result" / name).write_text("")
    arguments = [f"model.path={tmp_path}/model", f"input.path={tmp_path}/empty", f"{output}={tmp_path}/result"]
    with pytest.raises(
        UserError, match=r"no photograph there|model\.keras: is not the model|bundle\.json: format None"
    ):
        job(spark, configure(*arguments, "overwrite=true"))
    assert (tmp_path / "result" / finished).exists()


def test_folders_named_as_the_classes_need_no_table() -> None:
    assert outside.read_labels(None, ["melanoma", "nevus"], CLASSES) == {"melanoma": ["melanoma"], "nevus": ["nevus"]}
    with pytest.raises(UserError, match=r"the folder mel is named as no class of the model .*labels.map=FILE"):
        outside.read_labels(None, ["mel", "nevus"], CLASSES)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (None, "no such file"),
        ("image_id,class\n", "its first line has to be folder,class"),
        ("", "its first line has to be folder,class"),
        ("folder,class\nmel\n", "the line 'mel' is not a folder and a class"),
        ("folder,class\nmel,\n", "the line 'mel,' is not a folder and a class"),
        (TABLE + "df,wart\n", "no class of the model: wart; it has actinic keratosis"),
        ("folder,class\nmel,melanoma\n", "has no line for the folders akiec, nv"),
        ("folder,class\n\xff", "can't be read as a CSV in UTF-8"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_in_one_line(tmp_path, table, message) -> None:
    file = tmp_path / "map.csv"
    if table is not None:
        file.write_bytes(table.encode("latin-1"))
    with pytest.raises(UserError) as error:
        outside.read_labels(str(file), list(SETS), CLASSES)
    assert str(error.value).startswith(f"labels.map={file}: ")
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_table_may_have_a_byte_order_mark_and_folders_that_are_not_there(tmp_path) -> None:
    (tmp_path / "map.csv").write_text("\ufeff" + TABLE.replace("\n", "\r\n") + "other,nevus\r\n")
    assert outside.read_labels(str(tmp_path / "map.csv"), ["akiec", "mel", "nv"], CLASSES) == SETS


def test_a_dataset_is_scored_unless_folders_are_named_on_the_command_line_or_mapped(configure) -> None:
    assert not outside.asked_for(configure(), [])
    assert not outside.asked_for(configure("input.path=photographs"), ["--config", "mine.yaml"])
    assert outside.asked_for(configure("input.path=photographs"), ["input.path=photographs"])
    assert outside.asked_for(configure("input.path=photographs", "labels.map=map.csv"), [])
    with pytest.raises(UserError, match="labels.map=map.csv: .* name input.path=FOLDER too"):
        outside.asked_for(configure("labels.map=map.csv"), ["labels.map=map.csv"])
