"""Owns the other side of each comparison: the same work by the libraries alone, without this project's jobs."""

from pathlib import Path
from typing import Any

import numpy as np
from bench_given import Arguments, Unit, configuration, one_rank, rows_of


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


def predict(given: Arguments) -> Unit:
    """Keras' predict of the bundle's model on the same rows from memory."""
    import keras

    model = keras.models.load_model(f"{given['model']}/model.keras", compile=False)
    images, _ = rows_of(one_rank(given), copies=(0,))
    images = np.concatenate([images] * (given["scored"] // given["times"] + 1))

    def unit() -> float:
        return len(model.predict(images, batch_size=256, verbose=0))

    return unit
