"""How fast a run learns: the optimizer, and the learning rate of every step."""

import math

import keras

from dermaspark import adam
from dermaspark.config import Train

LOWEST_WARMUP = 0.1  # of the learning rate, where the warm-up starts (Goyal et al. 2017, gradual warm-up)
NOT_DECAYED = ["bias", "gamma", "beta"]  # weights that AdamW leaves alone


def base_rate(settings: Train, ranks: int) -> float:
    return settings.learning_rate * (ranks if settings.scale_learning_rate else 1)


def optimizer(settings: Train, ranks: int) -> keras.optimizers.Optimizer:
    rate = base_rate(settings, ranks)
    if settings.optimizer == "sgd":
        return keras.optimizers.SGD(rate, momentum=0.9)
    if settings.optimizer == "adam":
        return adam.Adam(rate)
    adamw = adam.AdamW(rate, weight_decay=settings.weight_decay)
    adamw.exclude_from_weight_decay(var_names=NOT_DECAYED)
    return adamw


def learning_rate(settings: Train, ranks: int, step: int, steps: int) -> float | None:
    """The learning rate of a step of the run; None where ReduceLROnPlateau has the say.

    Args:
        step: counted from the start of the run.
        steps: of an epoch.
    """
    rate, warmup = base_rate(settings, ranks), settings.warmup_epochs * steps
    if step < warmup:
        return rate * (LOWEST_WARMUP + (1 - LOWEST_WARMUP) * step / warmup)
    if settings.schedule == "cosine":
        share = (step - warmup) / max(settings.epochs * steps - warmup, 1)
        return rate * (1 + math.cos(math.pi * min(share, 1.0))) / 2
    return rate if step - 1 < warmup else None
