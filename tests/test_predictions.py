"""The predictions of a dataset: one row for each photograph, the unreadable ones too, in files that a retry repeats."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import draw_source
from dermaspark import bundle, scoring
from dermaspark.dataset import read_manifest
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
def model(tmp_path) -> tuple[str, dict]:
    """A bundle of a network that has learned nothing, and its document."""
    import keras

    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
    network = keras.Sequential([keras.Input((8, 8, 3), dtype="uint8"), *layers])
    spec = {"height": 8, "width": 8, "channels": 3, "max_pixels": 10**6}
    document = {"classes": ["melanoma", "nevus", "vascular lesion"], "preprocessing": spec}
    without = {"class_counts": {}, "history": [], "training": {}, "thresholds": {}}
    url = f"file://{tmp_path}/model"
    bundle.save(url, bundle.Bundle(network, "image", temperature=1.0, shifts=[0.0] * 3, **document, **without))
    return url, bundle.read_document(url)


def test_every_photograph_has_its_row_and_scoring_again_gives_the_same_files(
    spark, configure, sources, model, tmp_path
):
    arguments = [f"input.path=[{sources['clinic']},{sources['archive']}]", f"input.groups={tmp_path}/lesions.csv"]
    settings = ["image.height=8", "image.width=8", "input.max_bad_fraction=0.1", "split.policy=keep"]
    manifest = prepare(spark, configure(*arguments, *settings, f"output.path={tmp_path}/dataset"))
    url, to = f"file://{tmp_path}/dataset", f"file://{tmp_path}/predictions"
    files: list[dict[str, bytes]] = []
    for _ in range(2):
        scoring.score_dataset(spark, *model, url, manifest, to)
        files.append({path.name: path.read_bytes() for path in (tmp_path / "predictions").iterdir()})
    assert files[0] == files[1] and files[0]

    scored = spark.read.parquet(to)
    scoring.unscored(url, scored).write.mode("append").parquet(to)
    rows = {row["path"]: row for row in spark.read.parquet(to).collect()}
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
    counted = {
        split: sum(row["split"] == split and row["status"] == "ok" for row in rows.values())
        for split in manifest.counts
    }
    assert all(counted[split] == read_manifest(url).counts[split] for split in ("train", "val", "test"))


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
