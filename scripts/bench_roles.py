"""Owns what each side of a comparison does, by name: ours by the functions that the jobs run, the others bare.

Each role is a function of the arguments that it was started with to a unit of work, which tells how many
photographs or rows it did.
"""

import itertools
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from bench_sides import serve, timed

IDLE_SECONDS = "100000"  # a side that stands still must not be taken for dead
STALL_MINUTES = 1e6

Arguments = dict[str, Any]
Unit = Callable[[], float]


# ---- preprocess ----


def prepare(given: Arguments) -> Unit:
    """jobs/preprocess.py's work, photographs to a finished dataset, in a session that stands."""
    from dermaspark import preparation

    if given["cores"] == 1:  # the JVM and Spark's Python workers share it
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    spark = session(given["cores"])
    config = configuration(given)

    def unit() -> float:
        return preparation.prepare(spark, config).counts["found"]

    return unit


def bare(given: Arguments) -> Unit:
    """The same photographs and copies into memory by Pillow and numpy, one after the other."""
    from dermaspark.augment import Ranges, affine
    from dermaspark.config import to_dict
    from dermaspark.randomness import generator
    from PIL import Image

    config = configuration(given)
    height, width, copies = config.image.height, config.image.width, config.augment.copies
    ranges = Ranges(**{k: v for k, v in to_dict(config.augment).items() if k != "copies"})
    mode = {"reflect": "symmetric", "nearest": "edge", "wrap": "wrap", "constant": "constant"}[ranges.fill]
    photographs = listed(given)

    def copy(padded: Image.Image, key: str) -> Any:
        (a, b, c), (d, e, f) = affine(ranges, generator(0, "augment", key), height, width).tolist()
        turned = padded.transform(
            (width, height),
            Image.Transform.AFFINE,
            # The point (x, y) of the photograph is (x + width, y + height) of the padded one.
            (a, b, c + width, d, e, f + height),
            Image.Resampling.BILINEAR,
        )
        return np.array(turned)

    def unit() -> float:
        kept = []
        for path, augmented in photographs:
            with Image.open(path) as image:
                scaled = image.draft("RGB", (width, height))
                small = image.resize((width, height), Image.Resampling.HAMMING, scaled[1] if scaled else None)
            pixels = np.array(small.convert("RGB"))
            kept.append(pixels)
            if augmented and copies:
                padded = Image.fromarray(np.pad(pixels, ((height, height), (width, width), (0, 0)), mode))
                kept += [copy(padded, f"{path}#{number}") for number in range(1, copies + 1)]
        return len(photographs)

    return unit


def student(given: Arguments) -> Unit:
    """The same by Pillow's full decoding and Keras' ImageDataGenerator, in one process."""
    from keras.src.legacy.preprocessing.image import ImageDataGenerator  # Keras 3 keeps it out of sight
    from PIL import Image

    config = configuration(given)
    a = config.augment
    generator = ImageDataGenerator(
        rotation_range=a.rotation,
        width_shift_range=a.shift,
        height_shift_range=a.shift,
        shear_range=a.shear,
        zoom_range=a.zoom,
        horizontal_flip=a.horizontal_flip,
        vertical_flip=a.vertical_flip,
        fill_mode=a.fill,
    )
    photographs = listed(given)

    def unit() -> float:
        kept = []
        for path, augmented in photographs:
            with Image.open(path) as image:
                pixels = np.array(image.convert("RGB").resize((config.image.width, config.image.height)), np.float32)
            kept.append(pixels.astype(np.uint8))
            if augmented:
                kept += [generator.random_transform(pixels).astype(np.uint8) for _ in range(a.copies)]
        return len(photographs)

    return unit


def listed(given: Arguments) -> list[tuple[Path, bool]]:
    """Every photograph, and whether it is a training row of the dataset: only those are augmented."""
    import pyarrow.parquet as pq
    from dermaspark.dataset import read_manifest

    files = read_manifest(f"file://{given['dataset']}").of("train")
    tables = [pq.ParquetFile(f"{given['dataset']}/{file.path}").read(["id"]) for file in files]
    root = Path(given["photographs"])
    augmented = {root.parent / name for table in tables for name in table.column("id").to_pylist()}
    return [(path, path in augmented) for path in sorted(root.rglob("*.jpg"))]


# ---- stream ----


def stream(given: Arguments) -> Unit:
    """An epoch out of the training stream."""
    trainer = one_rank(given)
    epochs = iter(range(10**9))

    def unit() -> float:
        plan = trainer.plan(next(epochs))
        return sum(batch.real.sum() for batch in trainer.stream.batches(plan))

    return unit


def pyarrow(given: Arguments) -> Unit:
    """The Parquet of an epoch read by pyarrow alone, in one thread."""
    import pyarrow.parquet as pq

    trainer = one_rank(given)
    folder = given["dataset"]
    epochs = iter(range(10**9))

    def unit() -> float:
        files = [piece.file for block in trainer.plan(next(epochs)).blocks for piece in block]
        paths = [f"{folder}/{trainer.files[file].path}" for file in files]
        tables = (pq.ParquetFile(path).read([trainer.reads, "label"], use_threads=False) for path in paths)
        return sum(table.num_rows for table in tables)

    return unit


# ---- train ----


def train(given: Arguments) -> Unit:
    """An epoch of jobs/train.py's loop on this rank, without the checkpoint at its end."""
    from dermaspark.checkpoint import CheckpointStore
    from dermaspark.resumption import Progress, resume

    trainer = one_rank(given)
    store = CheckpointStore(f"file://{tempfile.gettempdir()}/bench-no-checkpoints")  # written to by nobody
    resume(trainer, store)
    epochs = iter(range(10**9))

    def unit() -> float:
        epoch = next(epochs)
        trainer.train_epoch(Progress(epoch=epoch), store)
        return trainer.plan(epoch).rows

    return unit


def fit(given: Arguments) -> Unit:
    """Keras' fit of the same network on the rows of one epoch from memory."""
    from dermaspark import schedules

    trainer = one_rank(given)
    images, labels = rows_of(trainer)
    model = trainer.model
    optimizer = schedules.optimizer(trainer.config.train, 1)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)

    def unit() -> float:
        model.fit(images, labels, batch_size=given["batch"], epochs=1, shuffle=True, verbose=0)
        return len(labels)

    return unit


def allreduce(given: Arguments) -> Unit:
    """Ten sums over the ranks of the next of so many bytes, by our exchange and then by Horovod's.

    The first unit is one of each, for its graph to be traced.
    """
    import horovod.tensorflow as hvd
    import tensorflow as tf
    from dermaspark import distributed

    distributed.start()
    values = [tf.zeros(size // 4) for size in given["sizes"]]
    ours = [tf.function(lambda value=value: distributed.add_up([value])[0]) for value in values]
    horovods = [tf.function(lambda value=value: hvd.grouped_allreduce([value], op=hvd.Sum)[0]) for value in values]
    sums = ours + horovods
    turns = itertools.chain([sums], itertools.cycle([[each] * 10 for each in sums]))

    def unit() -> float:
        turn = next(turns)
        for add_up in turn:
            add_up().numpy()
        return len(turn)

    return unit


# ---- score ----


def score(given: Arguments) -> Unit:
    """jobs/evaluate.py's scoring of a dataset, its files `times` over, to Parquet."""
    from dermaspark import bundle, scoring
    from dermaspark.dataset import read_manifest

    spark = session(given["cores"])
    url, model = f"file://{given['dataset']}", f"file://{given['model']}"
    manifest = read_manifest(url)
    manifest = replace(manifest, files=[file for file in manifest.files if file.copy == 0] * given["scored"])
    document = bundle.read_document(model)

    def unit() -> float:
        scored = scoring.score_dataset(spark, model, document, url, manifest)
        scored.write.mode("overwrite").parquet(given["output"])
        return sum(file.rows for file in manifest.files)

    return unit


def predict(given: Arguments) -> Unit:
    """Keras' predict of the bundle's model on the same rows from memory."""
    import keras

    model = keras.models.load_model(f"{given['model']}/model.keras", compile=False)
    images, _ = rows_of(one_rank(given), copies=(0,))
    images = np.concatenate([images] * (given["scored"] // given["times"] + 1))

    def unit() -> float:
        return len(model.predict(images, batch_size=256, verbose=0))

    return unit


def make_model(given: Arguments) -> Unit:
    """A bundle to score with, untrained: scoring costs the same."""
    from dermaspark import bundle

    trainer = one_rank(given)

    def unit() -> float:
        bundle.save(f"file://{given['model']}", trainer.bundle([], []))
        return 1

    return unit


# ---- what they share ----


def configuration(given: Arguments) -> Any:
    from dermaspark.command_line import load

    return load(given.get("set", []), Path(given["config"]))


def session(cores: int) -> Any:
    """A session that stands until the process is killed."""
    from dermaspark.session import spark_session

    conf = f"--conf spark.network.timeout={IDLE_SECONDS}s"
    os.environ["PYSPARK_SUBMIT_ARGS"] = f"--master local[{cores}] --driver-memory 1g {conf} pyspark-shell"
    context = spark_session("dermaspark bench", "info")
    _open.append(context)
    spark = context.__enter__()
    spark.range(cores * 4).repartition(cores).count()
    return spark


_open: list[Any] = []  # sessions, so that they are not stopped


def one_rank(given: Arguments) -> Any:
    """A Trainer on this process' rank, of as many as there are."""
    from dermaspark import distributed
    from dermaspark.dataset import read_manifest
    from dermaspark.training import Trainer

    rank, ranks = distributed.start()
    config = configuration(given)
    config = replace(config, train=replace(config.train, batch_size=given["batch"] * ranks, checkpoint_minutes=1e6))
    url = f"file://{given['dataset']}"
    manifest = read_manifest(url)
    manifest = replace(manifest, files=manifest.files * given["times"])
    return Trainer(config, manifest, url, rank, ranks, lambda **_: None)


def rows_of(trainer: Any, copies: tuple[int, ...] | None = None) -> tuple[Any, Any]:
    """Images and labels of the first epoch, or of all photographs in the given copies, in memory."""
    if copies is None:
        plan = trainer.plan(0)
    else:
        plan = trainer.rank_plan([i for i, file in enumerate(trainer.files) if file.copy in copies], shuffle=None)
    batches = list(trainer.stream.batches(plan))
    real = np.concatenate([batch.real for batch in batches]) > 0
    inputs = np.concatenate([batch.inputs for batch in batches])[real]
    return inputs, np.concatenate([batch.labels for batch in batches])[real]


def ranks(given: Arguments, address: str) -> None:
    """A role on several ranks, which the launcher starts and which answer to the bench themselves."""
    from dermaspark.launcher import HorovodDistributor

    spark = session(given["ranks"])
    HorovodDistributor(spark, given["ranks"], stall_minutes=STALL_MINUTES).run(_serve_rank, given, address)


def _serve_rank(given: Arguments, address: str) -> None:
    os.environ["HOROVOD_GLOO_TIMEOUT_SECONDS"] = IDLE_SECONDS
    serve(address, timed(ROLES[given["role"]](given)))


ROLES: dict[str, Callable[[Arguments], Unit]] = {
    role.__name__: role
    for role in (prepare, bare, student, stream, pyarrow, train, fit, allreduce, make_model, score, predict)
}


def main() -> None:
    role, address, given = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    if role == "ranks":
        ranks(given, address)
    else:
        serve(address, timed(ROLES[role](given)))


if __name__ == "__main__":
    # The module that the ranks will import, not this copy of it named __main__.
    import bench_roles

    bench_roles.main()
