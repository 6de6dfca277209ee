"""The mistakes in the report are the surest wrong predictions, and show the pixels that the model saw."""

import base64
import io

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import picture as drawn
from dermaspark import mistakes
from dermaspark.dataset import read_manifest
from dermaspark.photo import decode
from dermaspark.storage import join
from PIL import Image

RIGHT = {"melanoma": ["melanoma"], "nevus": ["nevus"], "vascular lesion": ["vascular lesion"]}
SCHEMA = "split string, id string, label string, predicted string, probability double, status string"


def predicted(spark, rows):
    return spark.createDataFrame(rows, SCHEMA)


def ids_of(url: str, split: str) -> list[str]:
    files = [join(url, file.path).removeprefix("file://") for file in read_manifest(url).of(split)]
    return [name for file in files for name in pq.read_table(file, columns=["id"]).column("id").to_pylist()]


def test_the_surest_wrong_predictions_of_the_split_are_found_and_no_others(spark):
    rows = [("test", f"wrong{k:02d}", "melanoma", "nevus", 0.5 + k / 100, "ok") for k in range(20)]
    rows += [("test", "right", "nevus", "nevus", 0.99, "ok"), ("train", "trained", "nevus", "melanoma", 0.99, "ok")]
    rows += [("test", "unread", "nevus", None, None, "truncated"), ("test", "strange", "wart", "nevus", 0.99, "ok")]
    rows += [("test", "no label", None, "nevus", 0.99, "ok")]
    found = mistakes.find(predicted(spark, rows), "test", RIGHT)
    assert [row["id"] for row in found] == [f"wrong{k:02d}" for k in range(19, 19 - mistakes.SHOWN, -1)]
    assert {row["picture"] for row in found} == {None}


def test_a_prediction_in_the_labels_set_of_classes_is_no_mistake(spark):
    rows = [("outside", "a", "moles", "nevus", 0.9, "ok"), ("outside", "b", "moles", "vascular lesion", 0.8, "ok")]
    found = mistakes.find(predicted(spark, rows), "outside", {"moles": ["nevus", "melanoma"]})
    assert [row["id"] for row in found] == ["b"]


@pytest.mark.parametrize(("split", "kept_in"), [("test", "test"), ("val", "val"), ("out_of_fold", "test")])
def test_the_picture_is_the_photographs_own_pixels(spark, dataset, split, kept_in):
    names = ids_of(dataset, kept_in)[:5]
    rows = [(split, name, "melanoma", "nevus", 0.9, "ok") for name in [*names, "not in the dataset"]]
    found = {row["id"]: row["picture"] for row in mistakes.find(predicted(spark, rows), split, RIGHT, [dataset])}
    assert found.pop("not in the dataset") is None
    files = [join(dataset, file.path).removeprefix("file://") for file in read_manifest(dataset).of(kept_in)]
    pixels = {row["id"]: row["image"] for file in files for row in pq.read_table(file).to_pylist()}
    assert sorted(found) == sorted(names)
    for name, picture in found.items():
        scheme, data = picture.split(",")
        assert scheme == "data:image/png;base64"
        assert np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).tobytes() == pixels[name]


def test_photographs_that_no_dataset_holds_are_read_again_from_their_files(spark, tmp_path):
    (tmp_path / "a.jpg").write_bytes(drawn(1))
    rows = [
        (name, f"file://{tmp_path}/{name}.jpg", "outside", "nevus", "melanoma", 0.9, "ok") for name in ("a", "gone")
    ]
    table = spark.createDataFrame(rows, f"id string, path string, {SCHEMA.replace('id string, ', '')}")
    spec = {"height": 24, "width": 16, "max_pixels": 10_000}
    found = {row["id"]: row["picture"] for row in mistakes.find(table, "outside", RIGHT, pixels=spec)}
    assert found["gone"] is None
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(found["a"].split(",")[1]))))
    np.testing.assert_array_equal(shown, decode(drawn(1), 24, 16, 10_000))


def test_a_large_photograph_becomes_a_small_picture():
    image = np.random.default_rng(0).integers(0, 255, (400, 800, 3), np.uint8)
    assert Image.open(io.BytesIO(mistakes.png(image))).size == (160, 80)


def test_without_scored_photographs_there_are_no_mistakes(spark):
    assert mistakes.find(predicted(spark, []), None, RIGHT) == []
