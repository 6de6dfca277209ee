"""Training's promises, with real Horovod ranks: exact figures, the same on every rank, and a run that goes on."""

import json
import shutil
import sys
from functools import partial

import cloudpickle
import numpy as np
import pytest
from dermaspark import bundle
from dermaspark.checkpoint import CheckpointStore
from dermaspark.dataset import read_manifest
from dermaspark.errors import UserError
from dermaspark.launcher import HorovodDistributor
from dermaspark.run import train

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the ranks have no tests on their path

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


def run_and_count(config, urls: dict[str, str]) -> dict:
    """A rank that reports what it has read when it has trained: rows, and the sums of their labels and pixels."""
    from dermaspark import rank
    from dermaspark.run import run_rank
    from dermaspark.stream import Stream

    batches, seen = Stream.batches, np.zeros(3, np.int64)

    def counted(stream, plan):
        for batch in batches(stream, plan):
            real = batch.real.astype(bool)
            seen[:] += (real.sum(), batch.labels[real].sum(), batch.inputs[real].sum(dtype=np.int64))
            yield batch

    Stream.batches = counted
    result = run_rank(config, urls)
    rank.report(seen=seen.tolist())
    return result


@pytest.fixture
def one_epoch(spark, configure, dataset, tmp_path):
    """An epoch whose weights stay as they are, on some ranks: its figures, and what was read in all."""
    still = ("train.epochs=1", "train.learning_rate=1e-12", "train.warmup_epochs=0", "network.dropout=0")

    def run(ranks: int) -> tuple[dict[str, float], np.ndarray]:
        seen: dict[int, list[int]] = {}
        config = configure(f"data.path={dataset}", *SMALL, *still, f"train.num_processes={ranks}")
        urls = {name: f"file://{tmp_path}/{ranks}/{name}" for name in ("model", "checkpoints")} | {"data": dataset}

        def hear(rank: int, message: dict) -> None:
            if "seen" in message:
                seen[rank] = message["seen"]

        result = HorovodDistributor(spark, ranks, on_message=hear).run(run_and_count, config, urls)
        assert sorted(seen) == list(range(ranks))
        return result["history"][0], np.sum(list(seen.values()), axis=0)

    return run


def test_one_epoch_reads_the_same_rows_and_gives_the_same_figures_on_1_2_and_3_ranks(one_epoch, dataset):
    alone, rows_alone = one_epoch(1)
    counts = read_manifest(dataset).counts
    assert rows_alone[0] == counts["train"] + 2 * counts["val"]  # again for the calibration
    for ranks in (2, 3):
        figures, rows = one_epoch(ranks)
        assert rows.tolist() == rows_alone.tolist()
        for name in ("loss", "val_loss"):
            assert figures[name] == pytest.approx(alone[name], rel=1e-6)
        for name in ("accuracy", "val_accuracy"):
            assert figures[name] == alone[name]


def test_a_run_that_was_interrupted_goes_on_as_if_it_had_not_been(trained, tmp_path):
    whole, whole_url = trained("train.epochs=3", name="whole")
    trained("train.epochs=2", name="parts")
    (tmp_path / "parts" / "bundle.json").unlink()
    parts, parts_url = trained("train.epochs=3", name="parts")
    assert parts["history"] == whole["history"]
    for a, b in zip(weights(parts_url), weights(whole_url), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize(("schedule", "kept"), [("cosine", "weights"), ("plateau", "best")])
def test_a_cosine_keeps_its_last_epoch_and_a_plateau_the_best_one(trained, tmp_path, schedule, kept):
    result, url = trained("train.epochs=6", f"train.schedule={schedule}", "train.learning_rate=0.03")
    losses = [entry["val_loss"] for entry in result["history"]]
    assert int(np.argmin(losses)) != 5, "the last epoch is not the best one, or this test tells nothing"
    assert result["kept_epoch"] == {"cosine": 5, "plateau": int(np.argmin(losses))}[schedule]
    last = CheckpointStore(f"file://{tmp_path}/model.checkpoints").read_last()
    assert last is not None
    assert any(name.startswith("best/") for name in last.arrays) == (schedule == "plateau")
    for i, array in enumerate(weights(url)):
        assert np.array_equal(array, last.arrays[f"{kept}/{i}"])


def test_a_loss_that_is_no_number_ends_the_run_in_a_line(trained):
    with pytest.raises(UserError, match=r"learning_rate=100\.0: the loss of epoch \d is no finite number; lower"):
        trained("train.epochs=3", "train.optimizer=sgd", "train.learning_rate=100", "train.warmup_epochs=0")


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


def test_what_cannot_be_trained_is_refused_in_a_line(trained, configure, spark, dataset, tmp_path):
    with pytest.raises(UserError, match="train.num_processes=64 needs 64 task slots"):
        trained("train.num_processes=64")
    with pytest.raises(UserError, match=r"copies_per_epoch=9: the dataset has 3 copies"):
        trained("train.copies_per_epoch=9")
    shutil.copytree(dataset.removeprefix("file://"), tmp_path / "set #2")
    with pytest.raises(UserError, match=r"set #2: petastorm takes a path to end at # or \?; move the dataset"):
        train(spark, configure(f"data.path={tmp_path}/set #2", f"model.path={tmp_path}/model"))
    with pytest.raises(UserError, match="no such folder; make a dataset"):
        train(spark, configure(f"data.path={tmp_path}/none", f"model.path={tmp_path}/model"))
    trained("train.epochs=1")
    with pytest.raises(UserError, match="is finished already"):
        trained("train.epochs=1")


def test_a_run_that_is_refused_leaves_an_earlier_model_as_it_is(trained):
    _, url = trained("train.epochs=1")
    before = weights(url)
    for setting, message in (
        ("train.num_processes=64", "needs 64 task slots"),  # by the driver
        ("network.name=fused", "the dataset has no features"),  # by the ranks
    ):
        with pytest.raises(UserError, match=message):
            trained("train.epochs=1", "overwrite=true", setting)
        for a, b in zip(weights(url), before, strict=True):
            assert np.array_equal(a, b)
    _, url = trained("train.epochs=1", "overwrite=true", "train.seed=1")
    assert not all(np.array_equal(a, b) for a, b in zip(weights(url), before, strict=True))


def step_of_biases(**settings) -> np.ndarray:
    """How one step of SGD moves biases that start at 0: by the gradient, as weights times (1 / classes - targets)."""
    import keras
    from dermaspark import distributed
    from dermaspark.config import Train
    from dermaspark.learner import Learner

    distributed.start()
    inputs = keras.Input((1,))
    logits = keras.layers.Dense(3, kernel_initializer="zeros")(inputs)
    model = keras.Model(inputs, keras.layers.Reshape((1, 3), name="logits")(logits))
    learner = Learner(model, keras.optimizers.SGD(1.0), Train(class_weights=True, **settings), [6, 3, 1])
    labels, partner, weight = np.array([0, 0, 1, 2], np.int32), [1, 2, 3, 0], np.array([1, 0.5, 0.75, 0.9], np.float32)
    learner.train_step(np.zeros((4, 1), np.float32), labels, np.ones(4, np.float32), np.float32(4), partner, weight)
    return model.layers[1].bias.numpy()


@pytest.mark.parametrize(("mixup", "smoothing"), [(0.0, 0.0), (0.3, 0.0), (0.0, 0.3), (0.3, 0.3)])
def test_class_weights_weigh_each_row_by_its_own_class(spark, mixup, smoothing):
    of_classes = np.array([10 / (3 * n) for n in (6, 3, 1)])
    labels, partner, weight = np.array([0, 0, 1, 2]), [1, 2, 3, 0], np.array([1, 0.5, 0.75, 0.9])[:, None]
    wanted = of_classes[labels][:, None] * (np.eye(3)[labels] * (1 - smoothing) + smoothing / 3)
    if mixup:
        wanted = weight * wanted + (1 - weight) * wanted[partner]
    expected = (wanted - wanted.sum(axis=1, keepdims=True) / 3).sum(axis=0) / 4
    found = HorovodDistributor(spark, 1).run(partial(step_of_biases, mixup=mixup, label_smoothing=smoothing))
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_checkpoints_that_cannot_be_written_leave_an_earlier_model(trained, tmp_path, name):
    _, url = trained("train.epochs=1")
    before = weights(url)
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match=f"train.checkpoint_path=file://{tmp_path}/{name}: can't be written"):
        trained("train.epochs=1", "overwrite=true", f"train.checkpoint_path={tmp_path}/{name}")
    assert all(np.array_equal(a, b) for a, b in zip(weights(url), before, strict=True))
