"""The bundle: a Keras model with all that is needed to use it on a photograph, in a folder without pickles.

The driver reads a bundle's document; TensorFlow is imported where the model is used.
"""

import functools
import hashlib
import os
import tempfile
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermaspark import storage
from dermaspark.dataset import digest
from dermaspark.errors import UserError

DOCUMENT = "bundle.json"
MODEL = "model.keras"
ENTRIES = (DOCUMENT, MODEL)
FORMAT = 1


@dataclass(frozen=True)
class Bundle:
    model: Any  # a Keras model: uint8 pixels (n, height, width, 3) to probabilities (n, classes)
    classes: list[str]
    preprocessing: dict[str, Any]  # of the dataset it was trained on
    class_counts: dict[str, int]  # training photographs: the prior it learned
    history: list[dict[str, float]]  # one entry an epoch
    training: dict[str, Any]  # the settings, the dataset's id and the deaths of ranks
    format: int = field(default=FORMAT)

    @functools.cached_property
    def _infer(self) -> Any:
        import tensorflow as tf

        return tf.function(functools.partial(self.model, training=False), reduce_retracing=True)

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """float64 (n, classes), rows that sum to 1, of uint8 images (n, height, width, 3)."""
        scores: NDArray[np.float64] = np.asarray(self._infer(images), np.float64)
        scores /= scores.sum(axis=1, keepdims=True)
        return scores


def save(url: str, bundle: Bundle) -> None:
    """Write a bundle; its document comes last, and a folder without it is no bundle."""
    with tempfile.TemporaryDirectory(prefix="dermaspark-") as folder:
        file = os.path.join(folder, MODEL)
        bundle.model.save(file)
        with open(file, "rb") as opened:
            data = opened.read()
    storage.write_bytes(storage.join(url, MODEL), data)
    document = {each.name: getattr(bundle, each.name) for each in fields(bundle) if each.name != "model"}
    document["preprocessing_hash"] = digest(bundle.preprocessing)
    document["model_sha256"] = _sha256(data)
    storage.write_json(storage.join(url, DOCUMENT), document)


def load(url: str) -> Bundle:
    """Raises UserError where there is no whole bundle, or its parts do not belong together."""
    import keras

    document = read_document(url)
    data = storage.read_bytes(storage.join(url, MODEL))
    if _sha256(data) != document.pop("model_sha256"):
        raise UserError(f"{storage.join(url, MODEL)}: is not the model that {DOCUMENT} names; train again")
    del document["preprocessing_hash"]
    with tempfile.TemporaryDirectory(prefix="dermaspark-") as folder:
        file = os.path.join(folder, MODEL)
        with open(file, "wb") as opened:
            opened.write(data)
        model = keras.models.load_model(file, compile=False, safe_mode=True)
    return Bundle(model=model, **document)


def read_document(url: str) -> dict[str, Any]:
    """The bundle's document alone, checked: what the driver needs, without Keras reading a model."""
    if not storage.exists(storage.join(url, DOCUMENT)):
        raise UserError(f"model.path={url}: no {DOCUMENT}, so not a (whole) bundle; run jobs/train.py")
    document: dict[str, Any] = storage.read_json(storage.join(url, DOCUMENT))
    if document.get("format") != FORMAT:
        raise UserError(f"{storage.join(url, DOCUMENT)}: format {document.get('format')}, this version reads {FORMAT}")
    if digest(document["preprocessing"]) != document["preprocessing_hash"]:
        raise UserError(f"{storage.join(url, DOCUMENT)}: its preprocessing was changed after training; train again")
    return document


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
