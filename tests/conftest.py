"""What tests share: one Spark session on loopback, and photographs that they draw themselves."""

import io
import os
from pathlib import Path

os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
os.environ["PYSPARK_SUBMIT_ARGS"] = "--master local[3] pyspark-shell"  # slots for three ranks, on any machine

import numpy as np
import pytest
from dermaspark.command_line import load
from dermaspark.session import spark_session
from hypothesis import settings
from PIL import Image

settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")

# A plain MLP on pixels: what most tests need no more than.
PLAIN = """
features: {families: []}
network: {name: seed}
train: {optimizer: adam, schedule: plateau, mixup: 0, label_smoothing: 0}
split: {validation: 0.15}
"""
CLASSES = ("melanoma", "nevus", "vascular lesion")


@pytest.fixture(scope="session")
def spark():
    with spark_session("tests", "info") as session:
        session.conf.set("spark.sql.shuffle.partitions", "4")
        yield session


@pytest.fixture
def configure(tmp_path):
    """The configuration of a job, from `key=value` arguments over PLAIN and the defaults."""

    def configured(*arguments: str):
        plain = tmp_path / "plain.yaml"
        plain.write_text(PLAIN)
        return load(list(arguments), plain)

    return configured


def picture(seed: int, tint: int = 0, size: tuple[int, int] = (60, 45)) -> bytes:
    """A JPEG of coloured noise, another one for each seed; `tint` moves its mean colour."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 160, (6, 8, 3)) + np.roll([90, 30, 0], tint)
    image = Image.fromarray(coarse.clip(0, 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def draw_source(folder: Path, train: int, test: int, classes: tuple[str, ...] = CLASSES) -> Path:
    """A source of `train` and `test` photographs a class; the classes differ in tint."""
    for part, split in enumerate(("Train", "Test")):
        for tint, name in enumerate(classes):
            place = folder / split / name
            for i in range((train, test)[part]):
                place.mkdir(parents=True, exist_ok=True)
                (place / f"{name[:3]}_{split}_{i:03d}.jpg").write_bytes(picture(10_000 * part + 100 * tint + i, tint))
    return folder


@pytest.fixture(scope="session")
def source(tmp_path_factory) -> Path:
    """Three classes, 40 training and 6 test photographs each."""
    return draw_source(tmp_path_factory.mktemp("photographs") / "drawn", 40, 6)


@pytest.fixture(scope="session")
def dataset(spark, source, tmp_path_factory) -> str:
    """The source at 16x16 with two augmented copies, preprocessed."""
    from dermaspark.preparation import prepare

    folder = tmp_path_factory.mktemp("dataset")
    (folder / "plain.yaml").write_text(PLAIN)
    arguments = [f"input.path={source}", f"output.path={folder}/dataset", "augment.copies=2"]
    prepare(spark, load([*arguments, "image.height=16", "image.width=16"], folder / "plain.yaml"))
    return f"file://{folder}/dataset"
