"""scripts/explain.py draws a photograph's explanation from a real bundle, and says what it can't explain in a line."""

import io
from pathlib import Path

import explain
import keras
import numpy as np
import pytest
from dermaspark import bundle
from PIL import Image

SIDE = 24


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """A bundle of a model that takes dark photographs for a melanoma."""
    inputs = keras.Input((SIDE, SIDE, 3), dtype="uint8")
    darkness = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(-1 / 255, 1)(inputs))
    layer = keras.layers.Dense(2, activation="softmax")
    network = keras.Model(inputs, layer(darkness))
    layer.set_weights([np.array([[5, -5]] * 3, np.float32), np.array([-4.5, 4.5], np.float32)])
    folder = tmp_path_factory.mktemp("model")
    spec = {"height": SIDE, "width": SIDE, "channels": 3, "max_pixels": 10**6}
    described = {"classes": ["melanoma", "nevus"], "preprocessing": spec, "class_counts": {}, "history": []}
    made = bundle.Bundle(
        model=network, reads="image", temperature=1.0, shifts=[0.0, 0.0], thresholds={}, training={}, **described
    )
    bundle.save(f"file://{folder}", made)
    return str(folder)


@pytest.fixture
def photo(tmp_path) -> Path:
    image = np.full((60, 60, 3), 200, np.uint8)
    image[10:30, 10:30] = 20
    Image.fromarray(image).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_the_picture_shows_photograph_map_and_probabilities(model, photo, tmp_path, capsys):
    assert explain.main([model, str(photo), str(tmp_path / "out.png"), "melanoma"]) == 0
    assert capsys.readouterr().out.startswith("melanoma 0.")
    drawn = np.asarray(Image.open(io.BytesIO((tmp_path / "out.png").read_bytes())).convert("RGB")).astype(int)
    height, width = drawn.shape[:2]
    left, middle = drawn[:, : int(0.3 * width)], drawn[:, int(0.315 * width) : int(0.6 * width)]
    red = [(part[..., 0] - part[..., 2] > 60).sum() for part in (left, middle)]
    assert red[0] == 0 < red[1]  # the lesion speaks for it, so the map is red there and the photograph is not
    rows, columns = np.nonzero(middle[..., 0] - middle[..., 2] > 60)
    assert rows.mean() < height / 2
    assert columns.mean() < middle.shape[1] / 2


@pytest.mark.parametrize(
    ("file", "class_name", "said"),
    [
        ("photo.png", "wart", "wart: no class of the model; it has melanoma, nevus"),
        ("missing.png", "nevus", "missing.png: can't be read (No such file or directory)"),
        ("text.png", "nevus", "text.png: "),
        (".", "nevus", "can't be read (Is a directory)"),
    ],
)
def test_what_cannot_be_explained_is_said_in_a_line(model, photo, tmp_path, capsys, file, class_name, said):
    (tmp_path / "text.png").write_text("not a photograph")
    assert explain.main([model, str(tmp_path / file), str(tmp_path / "out.png"), class_name]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert said in line
    assert not (tmp_path / "out.png").exists()


def test_a_picture_that_cannot_be_written_is_said_in_a_line(model, photo, capsys):
    assert explain.main([model, str(photo), str(photo / "out.png")]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"explain: {photo}/out.png: can't be written")
