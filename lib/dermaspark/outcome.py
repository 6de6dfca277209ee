"""From a run to a bundle: the model, calibrated on the validation rows of all ranks, and what must be known of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dermaspark import abstaining, calibration, distributed, featurising
from dermaspark.bundle import Bundle
from dermaspark.config import to_dict

if TYPE_CHECKING:
    from dermaspark.training import Trainer


def take_bundle(trainer: Trainer, history: list[dict[str, float]], deaths: list[dict[str, Any]]) -> Bundle:
    """What a finished run leaves; every rank works it out, since all of them calibrate together."""
    logs, labels = _held_back_logs(trainer)
    fitted = calibration.fit(logs, labels, distributed.total, leads=trainer.rank == 0)
    temperature, shifts = fitted["temperature"], fitted["shifts"]
    counted = abstaining.count(labels.astype(np.int64), calibration.calibrated(logs, temperature, shifts))
    everywhere = distributed.total(counted.ravel().tolist()).astype(np.int64).reshape(counted.shape)
    described = trainer.manifest.preprocessing.get("features", {})
    return Bundle(
        model=trainer.model,
        reads=trainer.reads,
        temperature=temperature,
        shifts=shifts,
        thresholds=abstaining.thresholds(everywhere),
        classes=trainer.manifest.classes,
        preprocessing=trainer.manifest.preprocessing,
        class_counts=trainer.manifest.class_counts["train"],
        history=history,
        training={
            "dataset": trainer.manifest.id,
            "protocol": trainer.manifest.protocol,
            "network": to_dict(trainer.config.network),
            "train": to_dict(trainer.config.train),
            "augment": trainer.manifest.augment,
            "calibration": fitted,
            "deaths": deaths,
        },
        featuriser=featurising.load(trainer.data_url, described) if trainer.reads == featurising.COLUMN else None,
    )


def _held_back_logs(trainer: Trainer) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Log-probabilities (n, classes) and labels (n,) of this rank's validation rows, of the weights as they are."""
    logs, labels = [np.empty((0, len(trainer.manifest.classes)))], [np.empty(0, np.int32)]
    for batch in trainer.reporting(trainer.stream.batches(trainer.held_back_plan())):
        real = batch.real > 0
        logs.append(trainer.learner.log_probabilities(batch.inputs).numpy()[real].astype(np.float64))
        labels.append(batch.labels[real])
    return np.concatenate(logs), np.concatenate(labels)
