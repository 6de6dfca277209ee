"""The predictions of a dataset: one row for each photograph, the unreadable ones too, in files that a retry repeats."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import draw_source
from dermaspark import bundle, evaluation, scoring
from dermaspark.dataset import Manifest
from dermaspark.errors import UserError
from dermaspark.preparation import prepare


@pytest.fixture
def sources(tmp_path) -> dict[str, Path]:
    """Two sources and a table of their lesions; one photograph can't be read."""
    places = {name: draw_source(tmp_path / name, 9, 3) for name in ("clinic", "archive")}
    (places["archive"] / "Test" / "nevus" / "empty.jpg").write_bytes(b"")
    names = {path.stem for path in tmp_path.rglob("*.jpg")}
    rows = "".join(f"{name},{name} {place},{len(name)}\n" for place, name in enumerate(sorted(names)))
    (tmp_path / "lesions.csv").write_text("image_id,lesion_id,age\n" + rows)
    return places


@pytest.fixture
def manifest(spark, configure, sources, tmp_path) -> Manifest:
    """Of the dataset that is made of them."""
    arguments = [f"input.path=[{sources['clinic']},{sources['archive']}]", f"input.groups={tmp_path}/lesions.csv"]
    settings = ["image.height=8", "image.width=8", "input.max_bad_fraction=0.1", "split.policy=keep"]
    return prepare(spark, configure(*arguments, *settings, f"output.path={tmp_path}/dataset"))


@pytest.fixture
def model(manifest, tmp_path) -> str:
    """A bundle of a network that has learned nothing."""
    import keras

    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
    network = keras.Sequential([keras.Input((8, 8, 3), dtype="uint8"), *layers])
    document = {
        "classes": manifest.classes,
        "preprocessing": manifest.preprocessing,
        "class_counts": manifest.class_counts["train"],
        "thresholds": {"risk": [0.9, 0.05], "threshold": [0.0, 0.3]},
    }
    made = bundle.Bundle(network, "image", temperature=1.0, shifts=[0.0] * 3, history=[], training={}, **document)
    bundle.save(f"file://{tmp_path}/model", made)
    return f"file://{tmp_path}/model"


def test_every_photograph_has_its_row(spark, configure, sources, manifest, model, tmp_path):
    places = (f"data.path={tmp_path}/dataset", f"model.path={model}", f"report.path={tmp_path}/report")
    figures = evaluation.evaluate(spark, configure(*places))
    rows = {row["path"]: row for row in pq.read_table(tmp_path / "report" / "predictions").to_pylist()}
    assert set(rows) == {f"file://{path}" for place in sources.values() for path in place.rglob("*.jpg")}
    for path, row in rows.items():
        place = Path(path.removeprefix("file://"))
        assert (row["source"], row["label"]) == (place.parts[-4], place.parts[-2])
        assert row["id"] == "/".join(place.parts[-4:])
        if place.stem == "empty":
            assert row["status"] != "ok" and row["probabilities"] is None and row["split"] == "test"
            continue
        assert row["status"] == "ok" and row["image_id"] == place.stem and row["age"] == str(len(place.stem))
        assert (row["split"] == "test") == (place.parts[-3] == "Test")
        assert row["predicted"] == manifest.classes[int(np.argmax(row["probabilities"]))]
        assert sum(row["probabilities"]) == pytest.approx(1) and row["strangeness"] is None
    for split in ("train", "val", "test"):
        scored = sum(row["split"] == split and row["status"] == "ok" for row in rows.values())
        assert scored == manifest.counts[split] == figures["splits"][split]["n"]
    assert figures["splits"]["test"]["set_aside"]["not scored"] == 1


def test_another_model_at_the_same_place_is_the_one_that_scores(spark, manifest, model, tmp_path):
    def scored(name: str) -> np.ndarray:
        document, to = bundle.read_document(model), f"file://{tmp_path}/{name}"
        scoring.score_dataset(spark, model, document, f"file://{tmp_path}/dataset", manifest, to)
        return np.array(pq.read_table(tmp_path / name)["probabilities"].to_pylist())

    before = scored("before")
    bundle.save(model, replace(bundle.load(model), temperature=7.0))
    assert (np.abs(scored("after") - before).max(axis=1) > 1e-3).all()


def test_scoring_again_gives_the_same_files(spark, manifest, model, tmp_path):
    files: list[dict[str, bytes]] = []
    for _ in range(2):
        document, to = bundle.read_document(model), f"file://{tmp_path}/scored"
        scoring.score_dataset(spark, model, document, f"file://{tmp_path}/dataset", manifest, to)
        files.append({path.name: path.read_bytes() for path in (tmp_path / "scored").iterdir()})
    assert files[0] == files[1] and files[0]


def test_predictions_that_cannot_be_written_are_told_by_name(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError, match=r"file/part\.parquet: can't be written \("):
        scoring.write_table(f"file://{tmp_path}/file/part.parquet", pa.table({"id": ["a"]}))


def test_a_table_of_predictions_is_read_as_it_was_written(tmp_path):
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    columns = scoring.score(probabilities, np.float32([0.5, 2]), ["a", "b", "c"])
    scoring.write_table(f"file://{tmp_path}/new/part.parquet", pa.table(columns))
    assert pq.read_table(tmp_path / "new").to_pydict() == {
        "predicted": ["a", "c"],
        "probability": [0.7, 0.6],
        "probabilities": probabilities.tolist(),
        "strangeness": [0.5, 2],
        "status": ["ok", "ok"],
    }
