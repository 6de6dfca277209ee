"""From a run to a checkpoint and back: what a run must share with the one that it goes on from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dermaspark import distributed
from dermaspark.checkpoint import Checkpoint, CheckpointStore, check_identity
from dermaspark.config import FREE_TO_CHANGE, to_dict
from dermaspark.dataset import digest
from dermaspark.errors import UserError

if TYPE_CHECKING:
    from dermaspark.training import Trainer

PLATEAU = ("best", "wait", "cooldown_counter")  # what ReduceLROnPlateau remembers
STOPPER = ("best", "wait", "stopped_epoch")  # and EarlyStopping


@dataclass
class Progress:
    """Where a run stands; the sums are those of the epoch in flight, over all ranks."""

    epoch: int = 0
    step: int = 0
    sums: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))  # (3,) loss, correct, rows
    history: list[dict[str, float]] = field(default_factory=list)
    best: list[NDArray[Any]] | None = None  # the weights of the best epoch so far, where a run keeps those


def identity(trainer: Trainer) -> dict[str, Any]:
    """What a checkpoint must share with the run that goes on from it."""
    config, manifest = trainer.config, trainer.manifest
    # Under a cosine these decide every step's rate, and which epoch's weights are kept.
    fixed = {"epochs", "early_stopping_patience"} if config.train.schedule == "cosine" else set()
    free = FREE_TO_CHANGE - fixed
    settings = {key: value for key, value in to_dict(config.train).items() if key not in free}
    return {
        "data.path (its content)": manifest.id,
        "preprocessing": digest(manifest.preprocessing),
        **{f"network.{key}": value for key, value in to_dict(config.network).items()},
        **{f"train.{key}": value for key, value in settings.items()},
    }


def take_checkpoint(trainer: Trainer, progress: Progress) -> Checkpoint:
    arrays = {f"weights/{i}": value for i, value in enumerate(trainer.model.get_weights())}
    arrays |= {f"best/{i}": value for i, value in enumerate(progress.best or [])}
    arrays |= {f"optimizer/{i}": variable.numpy() for i, variable in enumerate(trainer.optimizer.variables)}
    state = {
        "identity": identity(trainer),
        "ranks": trainer.ranks,
        "sums": progress.sums.tolist(),
        "history": progress.history,
        "plateau": {name: getattr(trainer.plateau, name) for name in PLATEAU},
        "stopper": {name: getattr(trainer.stopper, name) for name in STOPPER},
        "stopped": bool(trainer.stop_training),
    }
    return Checkpoint(progress.epoch, progress.step, arrays, state)


def resume(trainer: Trainer, store: CheckpointStore) -> Progress:
    """Where the run goes on, the same on every rank: the last whole checkpoint, or the start.

    A checkpoint from the middle of an epoch is a place in the plan of so many ranks; another number of them goes
    on from the start of that epoch.

    Raises:
        UserError: the checkpoint is of another run, or not every rank sees it.
    """
    last = store.read_last()
    if last and last.step and last.state["ranks"] != trainer.ranks:
        last = store.read_last(whole_epoch=True)
    progress = Progress()
    if last:
        check_identity(store.url, last.state["identity"], identity(trainer))
        progress = _restore(trainer, last)
        trainer.report(event="resumed", epoch=last.epoch, step=last.step)
    _agree_where(store, progress, trainer.ranks)
    if trainer.rank == 0:  # damaged ones, and those of another number of ranks; every rank has read by now
        store.drop_after(progress.epoch, progress.step)
    # Every rank read the same file; this makes sure of it, and gives all the same start where there was none.
    distributed.share([*trainer.model.variables, *trainer.optimizer.variables])
    return progress


def _agree_where(store: CheckpointStore, progress: Progress, ranks: int) -> None:
    """UserError where hosts do not share the folder: one rank would go on in the middle, another at the start."""
    place = np.array([progress.epoch, progress.step])
    if not np.array_equal(distributed.total(place.tolist()), ranks * place):
        raise UserError(f"{store.url}: not every rank finds the same checkpoint there; name one that all hosts share")


def _restore(trainer: Trainer, last: Checkpoint) -> Progress:
    weights = [last.arrays[f"weights/{i}"] for i in range(len(trainer.model.weights))]
    trainer.model.set_weights(weights)
    for i, variable in enumerate(trainer.optimizer.variables):
        variable.assign(last.arrays[f"optimizer/{i}"])
    for callback, names, values in (
        (trainer.plateau, PLATEAU, last.state["plateau"]),
        (trainer.stopper, STOPPER, last.state["stopper"]),
    ):
        for name in names:
            setattr(callback, name, values[name])
    trainer.stop_training = last.state["stopped"]
    best = [last.arrays[f"best/{i}"] for i in range(len(weights))] if "best/0" in last.arrays else None
    return Progress(last.epoch, last.step, np.array(last.state["sums"]), last.state["history"], best)
