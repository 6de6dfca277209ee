"""What one rank does: stream its share of each epoch, step with the others, checkpoint, and leave the bundle."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dermaspark import bundle, distributed, networks, schedules, storage
from dermaspark.checkpoint import CheckpointStore
from dermaspark.config import Config
from dermaspark.dataset import Manifest, read_manifest
from dermaspark.errors import UserError
from dermaspark.learner import Learner
from dermaspark.mixing import Mix, draw
from dermaspark.outcome import take_bundle
from dermaspark.plan import RankPlan, choose_copies, plan_rank, shuffle_files
from dermaspark.randomness import hash64
from dermaspark.resumption import Progress, resume, take_checkpoint
from dermaspark.stream import Batch, Stream, ahead

BLOCK_BYTES = 64 << 20  # of pixels that a rank mixes at a time
SECONDS_BETWEEN_REPORTS = 1.0

Report = Callable[..., None]  # keyword arguments, JSON values


def train_rank(config: Config, urls: dict[str, str], deaths: list[dict[str, Any]], report: Report) -> dict[str, Any]:
    """One rank's whole run; rank 0 writes the checkpoints and the bundle.

    Args:
        config: the whole configuration.
        urls: full URLs of 'data', 'model' and 'checkpoints'.
        deaths: of ranks in earlier attempts, for the bundle's record.
        report: sends one progress message to the driver.

    Returns:
        the history and the epoch whose weights are kept, on every rank.
    """
    rank, ranks = distributed.start()
    manifest = read_manifest(urls["data"])
    trainer = Trainer(config, manifest, urls["data"], rank, ranks, report)
    store = CheckpointStore(urls["checkpoints"])
    progress = resume(trainer, store)
    if rank == 0:  # only now, when nothing was refused, an earlier model makes room: the driver asked whether it may
        storage.claim(urls["model"], bundle.DOCUMENT, "model.path", overwrite=True, known=bundle.ENTRIES)
    trainer.run(progress, store)
    history = progress.history
    kept = history[-1]
    if trainer.keeps_best:
        kept = min(history, key=lambda entry: entry[trainer.monitor])
        trainer.model.set_weights(progress.best)
    finished = take_bundle(trainer, history, deaths)
    if rank == 0:
        bundle.save(urls["model"], finished)
    distributed.stop()
    return {"history": history, "kept_epoch": int(kept["epoch"])}


class Trainer:
    """The model, its optimizer and its data on one rank."""

    def __init__(self, config: Config, manifest: Manifest, data_url: str, rank: int, ranks: int, report: Report):
        self.config, self.manifest, self.rank, self.ranks, self.report = config, manifest, rank, ranks, report
        settings, shape = config.train, manifest.preprocessing
        self.data_url, self.files = data_url, manifest.files
        self.reads = networks.READS[config.network.name]
        self.monitor = "val_loss" if manifest.counts["val"] else "loss"
        self.model = networks.build(config.network, shape, len(manifest.classes), settings.seed)
        counts = [manifest.class_counts["train"].get(name, 0) for name in manifest.classes]
        self.optimizer = schedules.optimizer(settings, ranks)
        self.learner = Learner(self.model, self.optimizer, settings, counts)
        row = self.model.input.shape[1:]
        self.stream = Stream(data_url, self.files, self.reads, row)
        self.block_rows = max(1, BLOCK_BYTES // (math.prod(row) * self.stream.dtype.itemsize))
        # A cosine is best where it ends; the least validation loss before that is the luckiest of noisy ones.
        self.keeps_best = settings.schedule == "plateau" or settings.early_stopping_patience > 0
        self.stop_training = False
        self.plateau = keras.callbacks.ReduceLROnPlateau(
            monitor=self.monitor,
            mode="min",
            factor=settings.reduce_lr_factor,
            patience=settings.reduce_lr_patience,
            min_lr=settings.min_learning_rate,
        )
        patience = settings.early_stopping_patience or settings.epochs
        self.stopper = keras.callbacks.EarlyStopping(monitor=self.monitor, mode="min", patience=patience)
        # The cosine has the learning rate to itself.
        self.callbacks = [self.stopper, *([self.plateau] if settings.schedule == "plateau" else [])]
        for callback in (self.plateau, self.stopper):
            callback.set_model(self)  # of a model they use `optimizer` and `stop_training`; ours stays uncompiled
            callback.on_train_begin()

    # ---- the run ----

    def run(self, progress: Progress, store: CheckpointStore) -> None:
        """Train from where `progress` stands to the last epoch, or to the early stop."""
        with closing(ahead(self.batches_from(progress.epoch, progress.step))) as batches:
            while progress.epoch < self.config.train.epochs and not self.stop_training:
                started = time.monotonic()
                loss, accuracy = self.train_epoch(batches, progress, store)
                entry = {"epoch": progress.epoch, "loss": loss, "accuracy": accuracy}
                rate = self.plan(progress.epoch).global_rows.sum() / (time.monotonic() - started)
                if self.manifest.counts["val"]:
                    entry["val_loss"], entry["val_accuracy"] = self.evaluate(batches)
                entry["learning_rate"] = float(self.optimizer.learning_rate.numpy())
                self.check_finite(entry)
                before = min((e[self.monitor] for e in progress.history), default=np.inf)
                if self.keeps_best and (entry[self.monitor] < before or progress.best is None):
                    progress.best = self.model.get_weights()
                progress.history.append(entry)
                for callback in self.callbacks:
                    callback.on_epoch_end(progress.epoch, entry)
                progress.epoch, progress.step, progress.sums = progress.epoch + 1, 0, np.zeros(3)
                if self.rank == 0:
                    store.write(take_checkpoint(self, progress))
                self.report(event="epoch", epochs=self.config.train.epochs, rate=rate, **entry)

    def batches_from(self, epoch: int, step: int) -> Iterator[Batch]:
        """What the run takes from there to its last epoch: of each epoch the training batches, then the validation's.

        As one stream, so that an epoch's first rows are read while the last of the epoch before are trained on.
        """
        for each in range(epoch, self.config.train.epochs):
            training = self.stream.batches(self.plan(each))
            for _ in islice(self.reporting(training), step if each == epoch else 0):
                pass  # they were trained on before; reading them may take long, and is life
            yield from training
            if self.manifest.counts["val"]:
                yield from self.stream.batches(self.held_back_plan())

    def train_epoch(self, batches: Iterator[Batch], progress: Progress, store: CheckpointStore) -> tuple[float, float]:
        """Loss and accuracy of one epoch over all rows of all ranks, from the step where `progress` stands.

        `batches`: from there on, as from `batches_from`; those of the epoch are taken.
        """
        plan = self.plan(progress.epoch)
        self.seed_dropout(progress.epoch, progress.step)
        started, first = time.monotonic(), progress.step
        reported = saved = started
        for step, batch in enumerate(islice(batches, plan.steps - first), start=first):
            self.set_learning_rate(progress.epoch * plan.steps + step, plan.steps)
            mix = self.mix(batch, progress.epoch, step)
            rows = tf.constant(plan.global_rows[step], tf.float32)
            sums = self.learner.train_step(batch.inputs, batch.labels, batch.real, rows, *mix).numpy()
            progress.sums += (*sums, plan.global_rows[step])
            progress.step = step + 1
            now = time.monotonic()
            if step == first or now - reported > SECONDS_BETWEEN_REPORTS:
                rate = plan.global_rows[first : step + 1].sum() / (now - started)
                mean = progress.sums[0] / progress.sums[2]
                at = {"epoch": progress.epoch, "step": step + 1, "steps": plan.steps}
                self.report(event="step", **at, rate=float(rate), loss=float(mean))
                reported = now
            if self.rank == 0 and now - saved > 60 * self.config.train.checkpoint_minutes:
                store.write(take_checkpoint(self, progress))
                saved = now
        loss, correct, seen = progress.sums
        return float(loss / seen), float(correct / seen)

    def evaluate(self, batches: Iterator[Batch]) -> tuple[float, float]:
        """Validation loss and accuracy: sums over all rows on all ranks, divided once; `batches` stands at them."""
        sums = np.zeros(3)
        for batch in self.reporting(islice(batches, self.held_back_plan().steps)):
            loss, correct = self.learner.evaluate_step(batch.inputs, batch.labels, batch.real)
            sums += (float(loss), float(correct), batch.real.sum())
        loss, correct, rows = distributed.total(sums.tolist())
        return float(loss / rows), float(correct / rows)

    def check_finite(self, entry: dict[str, float]) -> None:
        """UserError, on every rank, where an epoch's loss is infinite or NaN: nothing could come of such weights."""
        if not math.isfinite(entry["loss"] + entry[self.monitor]):
            raise UserError(
                f"train.learning_rate={self.config.train.learning_rate}: the loss of epoch {entry['epoch'] + 1} is no "
                "finite number; lower the rate"
            )

    def reporting(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The same batches, and a sign of life from time to time: a rank that is silent for long is taken for dead."""
        reported = time.monotonic()
        for batch in batches:
            yield batch
            if time.monotonic() - reported > SECONDS_BETWEEN_REPORTS:
                self.report(event="alive")
                reported = time.monotonic()

    # ---- what the plan, the learning rate, the mixing and the dropout of an epoch are ----

    def plan(self, epoch: int) -> RankPlan:
        seed = self.config.train.seed
        train = [i for i, file in enumerate(self.files) if file.split == "train"]
        buckets, copies = [self.files[i].bucket for i in train], [self.files[i].copy for i in train]
        chosen = choose_copies(buckets, copies, self.config.train.copies_per_epoch, seed, epoch)
        files = shuffle_files([train[i] for i in chosen], seed, epoch)
        return self.rank_plan(files, shuffle=(seed, epoch))

    def held_back_plan(self) -> RankPlan:
        """This rank's share of the validation photographs, in the order in which they stand."""
        files = [i for i, file in enumerate(self.files) if file.split == "val" and file.copy == 0]
        return self.rank_plan(files, shuffle=None)

    def rank_plan(self, files: list[int], shuffle: tuple[int, int] | None) -> RankPlan:
        return plan_rank(
            files,
            [file.rows for file in self.files],
            rank=self.rank,
            ranks=self.ranks,
            global_batch=self.config.train.batch_size,
            block_rows=self.block_rows,
            shuffle=shuffle,
        )

    def set_learning_rate(self, step: int, steps: int) -> None:
        rate = schedules.learning_rate(self.config.train, self.ranks, step, steps)
        if rate is not None:
            self.optimizer.learning_rate.assign(rate)

    def mix(self, batch: Batch, epoch: int, step: int) -> Mix:
        settings, rows = self.config.train, len(batch.labels)
        return draw(int(batch.real.sum()), rows, settings.mixup, settings.seed, f"{epoch}/{self.rank}/{step}")

    def seed_dropout(self, epoch: int, step: int) -> None:
        """Random numbers of the epoch, the rank and the step, so that a run goes on as if it had not stopped."""
        for layer in self.model.layers:
            if isinstance(layer, keras.layers.Dropout) and layer.rate:
                seed = hash64(self.config.train.seed, "dropout", f"{epoch}/{self.rank}/{layer.name}") % 2**31
                layer.seed_generator.state.assign([seed, step])
