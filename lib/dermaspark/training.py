"""What one rank does: stream its share of each epoch, step with the others, checkpoint, and leave the bundle."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from dermaspark import bundle, distributed, networks
from dermaspark.checkpoint import Checkpoint, CheckpointStore, check_identity
from dermaspark.config import Config, to_dict
from dermaspark.dataset import DataFile, Manifest, digest, read_manifest
from dermaspark.plan import RankPlan, choose_copies, plan_rank, shuffle_files
from dermaspark.randomness import hash64
from dermaspark.stream import Batch, Stream

BLOCK_BYTES = 64 << 20  # of pixels that a rank mixes at a time
SECONDS_BETWEEN_REPORTS = 1.0
BATCHES_AHEAD = 4  # assembled while the network works
LOWEST_WARMUP = 0.1  # of the learning rate, where the warm-up starts (Goyal et al. 2017, gradual warm-up)

# What may change between the parts of a run that was interrupted; anything else makes it another run.
FREE_TO_CHANGE = {
    *("num_processes", "epochs", "checkpoint_path", "checkpoint_minutes", "network_interface", "resume"),
    *("max_restarts", "stall_minutes", "slots_timeout", "use_gpu", "allow_clear_text", "early_stopping_patience"),
}

Report = Callable[..., None]  # keyword arguments, JSON values


@dataclass
class Progress:
    """Where the run stands; the sums are those of the epoch in flight, over all ranks."""

    epoch: int
    step: int
    sums: NDArray[np.float64]  # (3,) loss, correct, rows
    history: list[dict[str, float]]
    best: list[NDArray[Any]] | None  # the weights of the best epoch so far


def train_rank(config: Config, urls: dict[str, str], deaths: list[dict[str, Any]], report: Report) -> dict[str, Any]:
    """One rank's whole run; rank 0 writes the checkpoints and the bundle.

    Args:
        config: the whole configuration.
        urls: full URLs of 'data', 'model' and 'checkpoints'.
        deaths: of ranks in earlier attempts, for the bundle's record.
        report: sends one progress message to the driver.

    Returns:
        the history and the best epoch, on every rank.
    """
    rank, ranks = distributed.start()
    manifest = read_manifest(urls["data"])
    trainer = Trainer(config, manifest, urls["data"], rank, ranks, report)
    store = CheckpointStore(urls["checkpoints"])
    progress = trainer.resume(store)
    trainer.run(progress, store)
    history = progress.history
    best = min(history, key=lambda entry: entry[trainer.monitor])
    if rank == 0:
        trainer.model.set_weights(progress.best)
        bundle.save(urls["model"], trainer.bundle(history, deaths))
    distributed.stop()
    return {"history": history, "best_epoch": int(best["epoch"])}


class Trainer:
    """The model, its optimizer and its data on one rank."""

    def __init__(self, config: Config, manifest: Manifest, data_url: str, rank: int, ranks: int, report: Report):
        self.config, self.manifest, self.rank, self.ranks, self.report = config, manifest, rank, ranks, report
        settings, shape = config.train, manifest.preprocessing
        self.files = manifest.files
        self.stream = Stream(data_url, self.files, shape["height"], shape["width"])
        self.block_rows = max(1, BLOCK_BYTES // (shape["height"] * shape["width"] * 3))
        self.monitor = "val_loss" if manifest.counts["val"] else "loss"
        classes = len(manifest.classes)
        self.model = networks.build(config.network, shape["height"], shape["width"], classes, settings.seed)
        self.logits = networks.logits_of(self.model)
        scale = ranks if settings.scale_learning_rate else 1
        self.learning_rate = settings.learning_rate * scale
        self.optimizer = _optimizer(settings.optimizer, self.learning_rate)
        self.optimizer.build(self.model.trainable_variables)
        self.model.compile(optimizer=self.optimizer, jit_compile=False)
        self.class_weights = tf.constant(_class_weights(manifest, settings.class_weights), tf.float32)
        self.plateau = keras.callbacks.ReduceLROnPlateau(
            monitor=self.monitor,
            mode="min",
            factor=settings.reduce_lr_factor,
            patience=settings.reduce_lr_patience,
            min_lr=settings.min_learning_rate,
        )
        patience = settings.early_stopping_patience or settings.epochs
        self.stopper = keras.callbacks.EarlyStopping(monitor=self.monitor, mode="min", patience=patience)
        for callback in (self.plateau, self.stopper):
            callback.set_model(self.model)
            callback.on_train_begin()

    # ---- the run ----

    def run(self, progress: Progress, store: CheckpointStore) -> None:
        """Train from where `progress` stands to the last epoch, or to the early stop."""
        while progress.epoch < self.config.train.epochs and not self.model.stop_training:
            started = time.monotonic()
            loss, accuracy = self.train_epoch(progress)
            entry = {"epoch": progress.epoch, "loss": loss, "accuracy": accuracy}
            rate = self.plan(progress.epoch).global_rows.sum() / (time.monotonic() - started)
            if self.manifest.counts["val"]:
                entry["val_loss"], entry["val_accuracy"] = self.evaluate("val")
            entry["learning_rate"] = float(self.optimizer.learning_rate.numpy())
            if entry[self.monitor] < min((e[self.monitor] for e in progress.history), default=np.inf):
                progress.best = self.model.get_weights()
            elif progress.best is None:  # a loss that is not a number from the start
                progress.best = self.model.get_weights()
            progress.history.append(entry)
            for callback in (self.plateau, self.stopper):
                callback.on_epoch_end(progress.epoch, entry)
            progress.epoch, progress.step, progress.sums = progress.epoch + 1, 0, np.zeros(3)
            if self.rank == 0:
                store.write(self.checkpoint(progress))
            self.report(event="epoch", epochs=self.config.train.epochs, rate=rate, **entry)

    def train_epoch(self, progress: Progress) -> tuple[float, float]:
        """Loss and accuracy of one epoch, over all rows of all ranks."""
        plan = self.plan(progress.epoch)
        self.seed_dropout(progress.epoch)
        warmup = self.config.train.warmup_epochs * plan.steps
        sums, seen, started = np.zeros(3), 0, time.monotonic()
        reported = started
        for step, batch in enumerate(_ahead(self.stream.batches(plan))):
            self.warm_up(progress.epoch * plan.steps + step, warmup)
            loss, correct = self.train_step(
                batch.images, batch.labels, batch.real, tf.constant(plan.global_rows[step], tf.float32)
            )
            sums += (float(loss), float(correct), batch.real.sum())
            seen += int(plan.global_rows[step])
            if (now := time.monotonic()) - reported > SECONDS_BETWEEN_REPORTS:
                rate = seen / (now - started)
                mean = sums[0] / max(sums[2], 1)
                self.report(event="step", epoch=progress.epoch, step=step + 1, steps=plan.steps, rate=rate, loss=mean)
                reported = now
        loss, correct, rows = distributed.total(sums)
        return float(loss / rows), float(correct / rows)

    def evaluate(self, split: str) -> tuple[float, float]:
        """Loss and accuracy of a split: sums over all its rows on all ranks, divided once."""
        files = [i for i, file in enumerate(self.files) if file.split == split and file.copy == 0]
        plan = self.rank_plan(files, shuffle=None)
        sums = np.zeros(3)
        for batch in _ahead(self.stream.batches(plan)):
            loss, correct = self.evaluate_step(batch.images, batch.labels, batch.real)
            sums += (float(loss), float(correct), batch.real.sum())
        loss, correct, rows = distributed.total(sums)
        return float(loss / rows), float(correct / rows)

    # ---- one step ----

    @tf.function(reduce_retracing=True)
    def train_step(
        self, images: tf.Tensor, labels: tf.Tensor, real: tf.Tensor, global_rows: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Move the weights by the gradient of the mean loss over all real rows of all ranks.

        Keras would divide by the batch size, padding included; here the sums are added up over the ranks and
        divided once by the number of real rows.
        """
        with tf.GradientTape() as tape:
            logits = self.logits(images, training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits) * real
            objective = tf.reduce_sum(losses * tf.gather(self.class_weights, labels)) / global_rows
        variables = self.model.trainable_variables
        gradients = tape.gradient(objective, variables)
        self.optimizer.apply(distributed.sum_gradients(gradients), variables)
        return tf.reduce_sum(losses), _correct(logits, labels, real)

    @tf.function(reduce_retracing=True)
    def evaluate_step(self, images: tf.Tensor, labels: tf.Tensor, real: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        logits = self.logits(images, training=False)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits) * real
        return tf.reduce_sum(losses), _correct(logits, labels, real)

    # ---- what the plan, the warm-up and the dropout of an epoch are ----

    def plan(self, epoch: int) -> RankPlan:
        seed = self.config.train.seed
        train = [i for i, file in enumerate(self.files) if file.split == "train"]
        buckets, copies = [self.files[i].bucket for i in train], [self.files[i].copy for i in train]
        chosen = choose_copies(buckets, copies, self.config.train.copies_per_epoch, seed, epoch)
        files = shuffle_files([train[i] for i in chosen], seed, epoch)
        return self.rank_plan(files, shuffle=(seed, epoch))

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

    def warm_up(self, step: int, warmup_steps: float) -> None:
        if step < warmup_steps:
            share = LOWEST_WARMUP + (1 - LOWEST_WARMUP) * step / warmup_steps
            self.optimizer.learning_rate.assign(self.learning_rate * share)
        elif step - 1 < warmup_steps and warmup_steps:
            self.optimizer.learning_rate.assign(self.learning_rate)

    def seed_dropout(self, epoch: int) -> None:
        """Random numbers of the epoch and the rank, so that a run goes on as if it had not stopped."""
        for layer in self.model.layers:
            if isinstance(layer, keras.layers.Dropout):
                seed = hash64(self.config.train.seed, "dropout", f"{epoch}/{self.rank}/{layer.name}") % 2**31
                layer.seed_generator.state.assign([seed, 0])

    # ---- checkpoints and the bundle ----

    def identity(self) -> dict[str, Any]:
        """What a checkpoint must share with the run that goes on from it."""
        train = {k: v for k, v in to_dict(self.config.train).items() if k not in FREE_TO_CHANGE}
        return {
            "data.path (its content)": self.manifest.id,
            "preprocessing": digest(self.manifest.preprocessing),
            **{f"network.{key}": value for key, value in to_dict(self.config.network).items()},
            **{f"train.{key}": value for key, value in train.items()},
        }

    def checkpoint(self, progress: Progress) -> Checkpoint:
        arrays = {f"weights/{i}": value for i, value in enumerate(self.model.get_weights())}
        arrays |= {f"best/{i}": value for i, value in enumerate(progress.best or [])}
        arrays |= {f"optimizer/{i}": v.numpy() for i, v in enumerate(self.optimizer.variables)}
        state = {
            "identity": self.identity(),
            "ranks": self.ranks,
            "history": progress.history,
            "plateau": {name: getattr(self.plateau, name) for name in ("best", "wait", "cooldown_counter")},
            "stopper": {name: getattr(self.stopper, name) for name in ("best", "wait", "stopped_epoch")},
            "stopped": bool(self.model.stop_training),
        }
        return Checkpoint(progress.epoch, progress.step, arrays, state)

    def resume(self, store: CheckpointStore) -> Progress:
        """Where the run goes on: the last whole checkpoint, or the start. The same on every rank."""
        progress = Progress(epoch=0, step=0, sums=np.zeros(3), history=[], best=None)
        last = store.read_last()
        if last:
            check_identity(store.url, last.state["identity"], self.identity())
            weights = [last.arrays[f"weights/{i}"] for i in range(len(self.model.weights))]
            self.model.set_weights(weights)
            for i, variable in enumerate(self.optimizer.variables):
                variable.assign(last.arrays[f"optimizer/{i}"])
            for name, value in last.state["plateau"].items():
                setattr(self.plateau, name, value)
            for name, value in last.state["stopper"].items():
                setattr(self.stopper, name, value)
            self.model.stop_training = last.state["stopped"]
            best = [last.arrays[f"best/{i}"] for i in range(len(weights))]
            progress = Progress(last.epoch, last.step, np.zeros(3), last.state["history"], best)
            self.report(event="resumed", epoch=last.epoch)
        distributed.share([*self.model.variables, *self.optimizer.variables])
        return progress

    def bundle(self, history: list[dict[str, float]], deaths: list[dict[str, Any]]) -> bundle.Bundle:
        return bundle.Bundle(
            model=self.model,
            classes=self.manifest.classes,
            preprocessing=self.manifest.preprocessing,
            class_counts=self.manifest.class_counts["train"],
            history=history,
            training={
                "dataset": self.manifest.id,
                "protocol": self.manifest.protocol,
                "network": to_dict(self.config.network),
                "train": to_dict(self.config.train),
                "augment": self.manifest.augment,
                "deaths": deaths,
            },
        )


def _optimizer(name: str, learning_rate: float) -> keras.optimizers.Optimizer:
    if name == "sgd":
        return keras.optimizers.SGD(learning_rate, momentum=0.9)
    return keras.optimizers.Adam(learning_rate)


def _class_weights(manifest: Manifest, balanced: bool) -> NDArray[np.float64]:
    """(classes,) weights whose mean over the training rows is 1: equal, or each class the same in total."""
    counts = np.array([manifest.class_counts["train"].get(name, 0) for name in manifest.classes], float)
    return counts.sum() / (len(counts) * counts) if balanced else np.ones(len(counts))


def _correct(logits: tf.Tensor, labels: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
    hits = tf.equal(tf.argmax(logits, axis=1, output_type=labels.dtype), labels)
    return tf.reduce_sum(tf.cast(hits, tf.float32) * real)


def _ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches, a few of them assembled in a thread while the caller works."""
    with ThreadPoolExecutor(1, thread_name_prefix="stream") as pool:
        waiting: deque[Future[Batch | None]] = deque(pool.submit(next, batches, None) for _ in range(BATCHES_AHEAD))
        while (batch := waiting.popleft().result()) is not None:
            waiting.append(pool.submit(next, batches, None))
            yield batch
