"""A disk that fills up and files that were tampered with: a clear error or the earlier state, never a wrong model."""

import hashlib
import json
import os
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import PLAIN
from dermaspark import bundle, storage
from dermaspark.command_line import load
from dermaspark.errors import UserError
from dermaspark.launcher import LaunchError
from dermaspark.preparation import prepare
from dermaspark.run import train

SMALL = ("network.hidden=[24,16]", "train.batch_size=16", "train.learning_rate=1e-3", "train.max_restarts=0")
FULL = "(No space left on device|can't take a checkpoint of .* bytes)"


@pytest.fixture(scope="module")
def run(spark, dataset, tmp_path_factory):
    """Train three epochs on two ranks into a folder; returns the history and the bundle's URL."""
    plain = tmp_path_factory.mktemp("damage") / "plain.yaml"
    plain.write_text(PLAIN)

    def trained(model: Path, *arguments: str):
        places = (f"data.path={dataset}", f"model.path={model}")
        return train(spark, load([*places, "train.epochs=3", *SMALL, *arguments], plain))["history"], f"file://{model}"

    return trained


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory):
    """History, bundle's URL and folder of a run that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole")
    return *run(folder / "model"), folder


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a file system of so many kilobytes; returns its folder and what makes it large."""
    folder = tmp_path / "disk"

    def mount(kilobytes: int):
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
        if os.getuid() or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("mounting a small disk needs root")
        return folder, lambda: subprocess.run(["mount", "-o", "remount,size=100m", str(folder)], check=True)

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", str(folder)], check=True)


def weights(url: str) -> list[np.ndarray]:
    return bundle.load(url).model.get_weights()


def same(url: str, other: str) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(weights(url), weights(other), strict=True))


@pytest.mark.parametrize("full", ["checkpoints", "bundle"])
def test_a_full_disk_is_told_in_a_line_and_the_run_goes_on_when_there_is_room(run, whole, small_disk, tmp_path, full):
    history, whole_url, folder = whole
    if full == "checkpoints":  # room for one, not for two
        disk, enlarge = small_disk(3 * max(file.stat().st_size for file in folder.glob("*.checkpoints/*")) // 2048)
        model, place = tmp_path / "model", disk / "checkpoints"
    else:
        disk, enlarge = small_disk((folder / "model" / "model.keras").stat().st_size // 2048)
        model, place = disk / "model", tmp_path / "checkpoints"
    with pytest.raises((UserError, LaunchError), match=FULL) as raised:
        run(model, f"train.checkpoint_path={place}")
    assert "\n" not in str(raised.value)
    assert not (model / "bundle.json").exists()
    assert {path.name for path in disk.rglob(".*")} <= {storage.OURS}, (
        "nothing half-written takes the room that is left"
    )
    enlarge()
    assert run(model, f"train.checkpoint_path={place}")[0] == history
    assert same(f"file://{model}", whole_url)


def test_a_disk_that_is_full_of_rows_is_told_in_a_line_and_the_next_run_finds_room(
    spark, source, configure, small_disk
):
    disk, enlarge = small_disk(100)
    config = configure(f"input.path={source}", f"output.path={disk}/dataset", "image.height=32", "image.width=32")
    with pytest.raises(Exception, match=r"UserError: output.path=file://.*: can't be written \(No space left"):
        prepare(spark, config)
    assert not (disk / "dataset" / "manifest.json").exists()
    enlarge()
    files = {str(disk / "dataset" / file.path) for file in prepare(spark, config).files}
    assert files == {str(path) for path in (disk / "dataset" / "photographs").rglob("*") if path.is_file()}


def test_training_goes_on_from_the_checkpoint_before_a_damaged_one_to_the_same_end(run, whole, tmp_path):
    run(tmp_path / "model", "train.epochs=2")
    (tmp_path / "model" / "bundle.json").unlink()
    last = sorted((tmp_path / "model.checkpoints").iterdir())[-1]
    last.write_bytes(last.read_bytes()[:-100])
    history, url = run(tmp_path / "model")
    assert history == whole[0]
    assert same(url, whole[1])


def test_a_planted_checkpoint_stops_the_run_by_name_and_its_pickle_does_not_run(run, tmp_path):
    trace = tmp_path / "it ran"

    class Planted:
        def __reduce__(self):
            return os.mkdir, (str(trace),)

    folder = tmp_path / "model.checkpoints"
    folder.mkdir()
    np.savez(folder / "planted", state=np.array([Planted()], object))
    data = (folder / "planted.npz").read_bytes()
    name = f"checkpoint-00009-0000000-{hashlib.sha256(data).hexdigest()[:32]}.npz"
    (folder / "planted.npz").rename(folder / name)
    with pytest.raises(UserError, match=f"{name}: is not a checkpoint of this version .*remove it"):
        run(tmp_path / "model")
    assert not trace.exists()


def planted_model(trace: Path):
    """A model that makes a folder when it is used."""
    import keras

    folder = str(trace)
    inputs = keras.Input((16, 16, 3), dtype="uint8")
    # A lambda's bytecode goes into the file.
    attack = keras.layers.Lambda(lambda x: (__import__("os").makedirs(folder), x)[1], output_shape=(16, 16, 3))
    outputs = attack(inputs)
    return keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(outputs)))


def save(url: str, model) -> None:
    document = {"classes": ["a", "b"], "preprocessing": {}, "class_counts": {}, "history": [], "training": {}}
    bundle.save(
        url, bundle.Bundle(model=model, reads="image", temperature=1.0, shifts=[0.0, 0.0], thresholds={}, **document)
    )


def test_code_that_was_planted_in_a_bundles_model_does_not_run(tmp_path):
    import keras

    trace, url = tmp_path / "it ran", f"file://{tmp_path}/model"
    save(url, planted_model(trace))
    with pytest.raises(ValueError, match="safe_mode"):
        bundle.load(url)
    assert not trace.exists()
    keras.models.load_model(tmp_path / "model" / "model.keras", safe_mode=False)(np.zeros((1, 16, 16, 3), np.uint8))
    assert trace.exists(), "the attack works where safe mode is off"


@pytest.mark.filterwarnings("ignore:Skipping invalid path")
def test_names_in_a_bundles_model_lead_nowhere(tmp_path):
    import keras

    folder = tmp_path / "a" / "b" / "model"
    url = f"file://{folder}"
    inputs = keras.Input((4, 4, 3), dtype="uint8")
    save(url, keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs))))
    with zipfile.ZipFile(folder / "model.keras", "a") as archive:
        for name in ("../evil", "../../evil", "assets/../../evil", f"{tmp_path}/evil"):
            archive.writestr(name, "x")
    document = json.loads((folder / "bundle.json").read_text())
    document["model_sha256"] = hashlib.sha256((folder / "model.keras").read_bytes()).hexdigest()
    (folder / "bundle.json").write_text(json.dumps(document))
    bundle.load(url)
    assert [path for path in tmp_path.rglob("*") if "evil" in path.name] == []


@pytest.mark.parametrize("damage", ["cut short", "a bit flipped"])
def test_a_damaged_model_is_refused_by_name(tmp_path, damage):
    import keras

    url = f"file://{tmp_path}/model"
    inputs = keras.Input((4, 4, 3), dtype="uint8")
    save(url, keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs))))
    file = tmp_path / "model" / "model.keras"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data if damage == "a bit flipped" else data[:-50])
    with pytest.raises(UserError, match=r"model\.keras: is not the model that bundle\.json names"):
        bundle.load(url)


@pytest.mark.parametrize("change", [lambda d: d.pop("classes"), lambda d: d.update(extra=1), lambda d: d.clear()])
def test_a_bundles_document_that_is_not_one_is_refused_by_name(tmp_path, change):
    import keras

    url = f"file://{tmp_path}/model"
    inputs = keras.Input((4, 4, 3), dtype="uint8")
    save(url, keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs))))
    document = json.loads((tmp_path / "model" / "bundle.json").read_text())
    change(document)
    (tmp_path / "model" / "bundle.json").write_text(json.dumps(document))
    with pytest.raises(UserError, match=r"bundle\.json: (classes is missing|extra is missing or too much|format None)"):
        bundle.load(url)


def test_a_model_that_is_larger_than_its_file_is_refused(tmp_path):
    import keras

    url, file = f"file://{tmp_path}/model", tmp_path / "model" / "model.keras"
    inputs = keras.Input((4, 4, 3), dtype="uint8")
    save(url, keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs))))
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("assets/zeros", bytes(10**7))
    document = json.loads((tmp_path / "model" / "bundle.json").read_text())
    document["model_sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    (tmp_path / "model" / "bundle.json").write_text(json.dumps(document))
    with pytest.raises(UserError, match=r"model\.keras: is compressed"):
        bundle.load(url)
