"""Training's promises, with real Horovod ranks: exact figures, the same on every rank, and a run that goes on."""

import json

import numpy as np
import pytest
from dermaspark import bundle
from dermaspark.checkpoint import CheckpointStore
from dermaspark.errors import UserError
from dermaspark.run import train

SMALL = ("network.hidden=[24,16]", "train.batch_size=16", "train.learning_rate=1e-3", "train.max_restarts=0")


@pytest.fixture
def trained(spark, configure, dataset, tmp_path):
    """Train into a folder of its own; returns the result and the bundle's URL."""

    def run(*arguments: str, name: str = "model"):
        config = configure(f"data.path={dataset}", f"model.path={tmp_path / name}", *SMALL, *arguments)
        return train(spark, config), f"file://{tmp_path / name}"

    return run


def weights(url: str) -> list[np.ndarray]:
    return bundle.load(url).model.get_weights()


def test_two_ranks_learn_and_leave_a_bundle_that_keras_alone_loads(trained):
    import keras

    result, url = trained("train.epochs=8")
    history = result["history"]
    assert [entry["epoch"] for entry in history] == list(range(8))
    assert history[-1]["loss"] < history[0]["loss"]
    assert max(entry["val_accuracy"] for entry in history) > 0.6, "three tints of noise are easy to tell apart"
    model = keras.models.load_model(url.removeprefix("file://") + "/model.keras", safe_mode=True)
    scores = np.asarray(model(np.zeros((2, 16, 16, 3), np.uint8)))
    assert scores.shape == (2, 3)
    assert scores.sum(axis=1) == pytest.approx(1, abs=1e-6)
    assert getattr(model, "optimizer", None) is None
    document = bundle.read_document(url)
    assert document["classes"] == ["melanoma", "nevus", "vascular lesion"]
    assert document["history"] == json.loads(json.dumps(history))


def test_the_same_seed_on_the_same_ranks_gives_the_same_weights_bit_for_bit(trained):
    results = [trained("train.epochs=2", name=name) for name in ("first", "second")]
    assert results[0][0] == results[1][0]
    for a, b in zip(*(weights(url) for _, url in results), strict=True):
        assert np.array_equal(a, b)


def test_figures_do_not_depend_on_the_number_of_ranks(trained):
    """The same weights (a learning rate of next to nothing, no dropout) on 1, 2 and 3 ranks."""
    still = ("train.epochs=1", "train.learning_rate=1e-12", "train.warmup_epochs=0", "network.dropout=0")
    histories = []
    for ranks in (1, 2):
        result, _ = trained(*still, f"train.num_processes={ranks}", name=f"ranks-{ranks}")
        histories.append(result["history"][0])
    for name in ("loss", "val_loss"):
        assert histories[1][name] == pytest.approx(histories[0][name], rel=1e-6)
    for name in ("accuracy", "val_accuracy"):
        assert histories[1][name] == histories[0][name]


def test_a_run_that_was_interrupted_goes_on_as_if_it_had_not_been(trained, tmp_path):
    whole, whole_url = trained("train.epochs=3", name="whole")
    trained("train.epochs=2", name="parts")
    (tmp_path / "parts" / "bundle.json").unlink()
    parts, parts_url = trained("train.epochs=3", name="parts")
    assert parts["history"] == whole["history"]
    for a, b in zip(weights(parts_url), weights(whole_url), strict=True):
        assert np.array_equal(a, b)


def test_a_checkpoint_of_another_run_is_refused_by_name(trained, tmp_path):
    trained("train.epochs=1")
    (tmp_path / "model" / "bundle.json").unlink()
    with pytest.raises(UserError, match=r"has network\.hidden=\[24, 16\], this one \[8\]; overwrite=true"):
        trained("train.epochs=1", "network.hidden=[8]")


def test_a_damaged_checkpoint_is_noticed_and_the_one_before_it_used(trained, tmp_path):
    trained("train.epochs=3")
    files = sorted((tmp_path / "model.checkpoints").iterdir())
    data = bytearray(files[-1].read_bytes())
    data[len(data) // 2] ^= 1
    files[-1].write_bytes(data)
    last = CheckpointStore(f"file://{tmp_path}/model.checkpoints").read_last()
    assert last is not None
    assert last.epoch == 2


def test_what_cannot_be_trained_is_refused_in_a_line(trained, configure, spark, tmp_path):
    with pytest.raises(UserError, match="train.num_processes=64 needs 64 task slots"):
        trained("train.num_processes=64")
    with pytest.raises(UserError, match=r"copies_per_epoch=9: the dataset has 3 copies"):
        trained("train.copies_per_epoch=9")
    with pytest.raises(UserError, match="no such folder; make a dataset"):
        train(spark, configure(f"data.path={tmp_path}/none", f"model.path={tmp_path}/model"))
    trained("train.epochs=1")
    with pytest.raises(UserError, match="is finished already"):
        trained("train.epochs=1")
