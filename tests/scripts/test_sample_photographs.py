"""The promises of the drawn photographs: the same from the same seed, complete or absent, not too easy."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import sample_photographs
from dermaspark import networks
from dermaspark.config import Network
from lesion_drawing import KINDS
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"

SIDE = 64


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`, by its path there."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "small"
    sample_photographs.draw_set(folder, seed=0, train=2, test=1, processes=1)
    return folder


def test_the_set_has_so_many_photographs_a_class_all_alike_on_the_outside(small: Path) -> None:
    photographs = sorted(small.rglob("*.jpg"))
    for split, count in (("Train", 2), ("Test", 1)):
        assert sorted(folder.name for folder in (small / split).iterdir()) == sorted(KINDS)
        assert all(len(list((small / split / kind).iterdir())) == count for kind in KINDS)
    assert len({photograph.stem for photograph in photographs}) == len(KINDS) * 3
    for photograph in photographs:
        with Image.open(photograph) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (600, 450))
            assert not image.getexif()


def test_the_seed_alone_decides_every_byte(small: Path, tmp_path: Path) -> None:
    sample_photographs.draw_set(tmp_path / "again", seed=0, train=2, test=1, processes=3)
    assert contents(tmp_path / "again") == contents(small)


def test_a_photograph_is_the_same_whatever_else_is_drawn(small: Path, tmp_path: Path) -> None:
    sample_photographs.draw_set(tmp_path / "fewer", seed=0, train=1, test=1)
    fewer = contents(tmp_path / "fewer")
    del fewer["README.txt"]
    assert fewer.items() <= contents(small).items()


def test_no_two_photographs_are_the_same_and_another_seed_draws_others(small: Path, tmp_path: Path) -> None:
    sample_photographs.draw_set(tmp_path / "other", seed=1, train=2, test=1)
    drawn = [*contents(small).values(), *contents(tmp_path / "other").values()]
    assert len(set(drawn)) == len(drawn)


def test_a_complete_set_is_left_as_it_is(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {file: file.stat().st_mtime_ns for file in small.rglob("*")}
    assert sample_photographs.main([str(small), "--train-per-class", "2", "--test-per-class", "1"]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in small.rglob("*")} == before


def test_a_folder_that_holds_something_else_is_refused_by_name(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    before = contents(small)
    for folder in (small, tmp_path):  # another set, and no set at all
        assert sample_photographs.main([str(folder), "--seed", "7"]) == 1
        message = capsys.readouterr().err
        assert str(folder) in message
        assert message.count("\n") == 1
    assert contents(small) == before
    assert contents(tmp_path) == {"mine.txt": b"mine"}


def test_a_run_that_was_killed_leaves_no_set_and_the_next_run_draws_it_whole(small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    command = [sys.executable, str(SCRIPTS / "sample_photographs.py"), str(folder)]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.rglob("*.jpg")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not folder.exists()
    subprocess.run([*command, "--train-per-class", "2", "--test-per-class", "1"], check=True, timeout=60)
    assert contents(folder) == contents(small)
    assert list(tmp_path.iterdir()) == [folder]


# --------------------------------------------------------------------------------------------- how hard it is


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half the default set's training photographs, all of its test photographs."""
    folder = tmp_path_factory.mktemp("drawn") / "half"
    sample_photographs.draw_set(folder, seed=0, train=40, test=16)
    return folder


def photographs(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.int64]]:
    """Pixels (n, SIDE, SIDE, 3), sizes in bytes (n, 1) and labels (n,) of one split."""
    files = sorted(folder.rglob("*.jpg"))
    pixels = np.stack([np.asarray(Image.open(file).resize((SIDE, SIDE))) for file in files])
    sizes = np.array([[float(file.stat().st_size)] for file in files])
    labels = np.array([sorted(KINDS).index(file.parent.name) for file in files])
    return pixels, sizes, labels


def test_mean_colour_and_file_size_tell_little_and_an_mlp_on_the_pixels_much_but_not_all(half: Path) -> None:
    pixels, sizes, labels = photographs(half / "Train")
    test_pixels, test_sizes, test_labels = photographs(half / "Test")

    linear = make_pipeline(StandardScaler(), LogisticRegression())
    colour = linear.fit(pixels.mean((1, 2)), labels).score(test_pixels.mean((1, 2)), test_labels)
    size = linear.fit(sizes, labels).score(test_sizes, test_labels)

    mlp = networks.build(
        Network("seed", hidden=[256, 128], dropout=0.3), {"height": SIDE, "width": SIDE}, len(KINDS), seed=0
    )
    mlp.compile(keras.optimizers.Adam(3e-4), "sparse_categorical_crossentropy", jit_compile=False)
    flips = np.concatenate([pixels, pixels[:, ::-1], pixels[:, :, ::-1], pixels[:, ::-1, ::-1]])
    mlp.fit(flips, np.tile(labels, 4), batch_size=32, epochs=20, verbose=0)
    trained = np.mean(mlp.predict(test_pixels, verbose=0).argmax(axis=1) == test_labels)

    print(f"mean colour {colour:.3f}, file size {size:.3f}, MLP {trained:.3f}")
    assert colour < 0.45
    assert size < 0.3
    assert 0.7 < trained < 0.98
