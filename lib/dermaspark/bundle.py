"""The bundle: a Keras model with all that is needed to use it on a photograph, in a folder without pickles.

The driver reads a bundle's document; TensorFlow and the featuriser are imported where the model is used.
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
import tempfile
import zipfile
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dermaspark import calibration, storage
from dermaspark.dataset import FEATURISER, digest
from dermaspark.errors import UserError

if TYPE_CHECKING:
    from dermaspark.features import Featuriser

DOCUMENT = "bundle.json"
MODEL = "model.keras"
ENTRIES = (DOCUMENT, MODEL, FEATURISER)
NOT_IN_DOCUMENT = ("model", "featuriser")  # files of their own
SMALLEST = 1e-38  # a probability that a 32-bit network gave as 0
FORMAT = 3


@dataclass(frozen=True)
class Bundle:
    model: Any  # a Keras model: rows of the column `reads` to probabilities (n, classes), before calibration
    reads: str  # the dataset's column: image, uint8 (n, height, width, 3), or features, float32 (n, width)
    temperature: float  # that the logits are divided by, and
    shifts: list[float]  # that are then added, one a class: fitted on validation rows (`calibration`)
    thresholds: dict[str, list[float]]  # of confidence, by the risk they bring, on validation rows (`abstaining`)
    classes: list[str]
    preprocessing: dict[str, Any]  # of the dataset it was trained on
    class_counts: dict[str, int]  # training photographs: the prior it learned
    history: list[dict[str, float]]  # one entry an epoch
    training: dict[str, Any]  # the settings, the dataset's id and the deaths of ranks
    featuriser: Featuriser | None = None  # where it reads features
    format: int = field(default=FORMAT)

    @functools.cached_property
    def _infer(self) -> Any:
        import tensorflow as tf

        return tf.function(functools.partial(self.model, training=False), reduce_retracing=True, autograph=False)

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """float64 (n, classes), rows that sum to 1, of uint8 images (n, height, width, 3)."""
        return self.examine(images)[0]

    def examine(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float32] | None]:
        """The probabilities, and how strange each photograph is, (n,), above 1 too strange; None without features."""
        if self.featuriser is None:
            return self.score(images), None
        raw = self.featuriser.describe(images)
        return self.score(self.featuriser.project(raw)), self.featuriser.strangeness(raw)

    def score(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """The same of rows of the column `reads`."""
        logs = np.log(np.maximum(np.asarray(self._infer(rows), np.float64), SMALLEST))
        return calibration.calibrated(logs, self.temperature, self.shifts)


def save(url: str, bundle: Bundle) -> None:
    """Write a bundle; its document comes last, and a folder without it is no bundle."""
    from dermaspark import featurising

    with tempfile.TemporaryDirectory(prefix="dermaspark-") as folder:
        file = os.path.join(folder, MODEL)
        bundle.model.save(file)
        with open(file, "rb") as opened:
            data = opened.read()
    storage.write_bytes(storage.join(url, MODEL), data)
    if bundle.featuriser:
        featurising.save(url, bundle.featuriser)
    document = {each.name: getattr(bundle, each.name) for each in fields(bundle) if each.name not in NOT_IN_DOCUMENT}
    document["preprocessing_hash"] = digest(bundle.preprocessing)
    document["model_sha256"] = _sha256(data)
    storage.write_json(storage.join(url, DOCUMENT), document)


def load(url: str) -> Bundle:
    """Raises UserError where there is no whole bundle, or its parts do not belong together."""
    import keras

    document = read_document(url)
    data, fitted = _read_model(url, document), _read_featuriser(url, document)
    for checked in ("model_sha256", "preprocessing_hash"):
        del document[checked]
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):  # Keras compresses nothing
            raise UserError(
                f"{storage.join(url, MODEL)}: is compressed, so its size in memory is not known; train again"
            )
    with tempfile.TemporaryDirectory(prefix="dermaspark-") as folder:
        file = os.path.join(folder, MODEL)
        with open(file, "wb") as opened:
            opened.write(data)
        model = keras.models.load_model(file, compile=False, safe_mode=True)
    return Bundle(model=model, featuriser=fitted, **document)


def check(url: str, document: dict[str, Any]) -> None:
    """What `load` would find wrong with the bundle's files, or what this machine lacks to use it on photographs.

    Without Keras, for the driver. Raises UserError.
    """
    from dermaspark import featurising

    _read_model(url, document)
    if fitted := _read_featuriser(url, document):
        featurising.check_weights(fitted.spec.families)


def _read_model(url: str, document: dict[str, Any]) -> bytes:
    file = storage.join(url, MODEL)
    data = storage.read_bytes(file) if storage.exists(file) else b""
    if _sha256(data) != document["model_sha256"]:
        raise UserError(f"{file}: is not the model that {DOCUMENT} names; train again")
    return data


def _read_featuriser(url: str, document: dict[str, Any]) -> Featuriser | None:
    """The featuriser of a bundle whose model reads features."""
    from dermaspark import featurising

    reads_features = document["reads"] == featurising.COLUMN
    return featurising.load(url, document["preprocessing"][featurising.COLUMN]) if reads_features else None


def read_document(url: str) -> dict[str, Any]:
    """The bundle's document alone, checked: what the driver needs, without Keras reading a model."""
    if not storage.exists(storage.join(url, DOCUMENT)):
        raise UserError(f"model.path={url}: no {DOCUMENT}, so not a (whole) bundle; run jobs/train.py")
    document: Any = storage.read_json(storage.join(url, DOCUMENT))
    if not isinstance(document, dict):
        raise UserError(f"{storage.join(url, DOCUMENT)}: not a bundle's document; train again")
    if document.get("format") != FORMAT:
        raise UserError(f"{storage.join(url, DOCUMENT)}: format {document.get('format')}, this version reads {FORMAT}")
    keys = {each.name for each in fields(Bundle)} - {*NOT_IN_DOCUMENT} | {"preprocessing_hash", "model_sha256"}
    if wrong := sorted(keys ^ document.keys()):
        raise UserError(f"{storage.join(url, DOCUMENT)}: {wrong[0]} is missing or too much; train again")
    if digest(document["preprocessing"]) != document["preprocessing_hash"]:
        raise UserError(f"{storage.join(url, DOCUMENT)}: its preprocessing was changed after training; train again")
    return document


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
