"""What one rank does: stream its share of each epoch, step with the others, checkpoint, and leave the bundle."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar, cast

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from dermaspark import bundle, distributed, networks
from dermaspark.checkpoint import CheckpointStore
from dermaspark.config import Config, to_dict
from dermaspark.dataset import Manifest, read_manifest
from dermaspark.plan import RankPlan, choose_copies, plan_rank, shuffle_files
from dermaspark.randomness import hash64
from dermaspark.resumption import Progress, resume, take_checkpoint
from dermaspark.stream import Batch, Stream

BLOCK_BYTES = 64 << 20  # of pixels that a rank mixes at a time
SECONDS_BETWEEN_REPORTS = 1.0
BATCHES_AHEAD = 4  # assembled while the network works
LOWEST_WARMUP = 0.1  # of the learning rate, where the warm-up starts (Goyal et al. 2017, gradual warm-up)

Step = TypeVar("Step", bound=Callable[..., Any])
Report = Callable[..., None]  # keyword arguments, JSON values


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
    progress = resume(trainer, store)
    trainer.run(progress, store)
    history = progress.history
    best = min(history, key=lambda entry: entry[trainer.monitor])
    if rank == 0:
        trainer.model.set_weights(progress.best)
        bundle.save(urls["model"], trainer.bundle(history, deaths))
    distributed.stop()
    return {"history": history, "best_epoch": int(best["epoch"])}


def compiled(step: Step) -> Step:
    """`step` as a TensorFlow graph, with its types kept."""
    return cast(Step, tf.function(step, reduce_retracing=True))


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
        self.stop_training = False
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
            callback.set_model(self)  # of a model they use `optimizer` and `stop_training`; ours stays uncompiled
            callback.on_train_begin()

    # ---- the run ----

    def run(self, progress: Progress, store: CheckpointStore) -> None:
        """Train from where `progress` stands to the last epoch, or to the early stop."""
        while progress.epoch < self.config.train.epochs and not self.stop_training:
            started = time.monotonic()
            loss, accuracy = self.train_epoch(progress, store)
            entry = {"epoch": progress.epoch, "loss": loss, "accuracy": accuracy}
            rate = self.plan(progress.epoch).global_rows.sum() / (time.monotonic() - started)
            if self.manifest.counts["val"]:
                entry["val_loss"], entry["val_accuracy"] = self.evaluate("val")
            entry["learning_rate"] = float(self.optimizer.learning_rate.numpy())
            if (
                entry[self.monitor] < min((e[self.monitor] for e in progress.history), default=np.inf)
                or progress.best is None
            ):
                progress.best = self.model.get_weights()
            progress.history.append(entry)
            for callback in (self.plateau, self.stopper):
                callback.on_epoch_end(progress.epoch, entry)
            progress.epoch, progress.step, progress.sums = progress.epoch + 1, 0, np.zeros(3)
            if self.rank == 0:
                store.write(take_checkpoint(self, progress))
            self.report(event="epoch", epochs=self.config.train.epochs, rate=rate, **entry)

    def train_epoch(self, progress: Progress, store: CheckpointStore) -> tuple[float, float]:
        """Loss and accuracy of one epoch over all rows of all ranks, from the step where `progress` stands."""
        plan = self.plan(progress.epoch)
        warmup = self.config.train.warmup_epochs * plan.steps
        self.seed_dropout(progress.epoch, progress.step)
        started, first = time.monotonic(), progress.step
        reported = saved = started
        batches = islice(self.stream.batches(plan), first, None)
        for step, batch in enumerate(_ahead(batches), start=first):
            self.warm_up(progress.epoch * plan.steps + step, warmup)
            rows = tf.constant(plan.global_rows[step], tf.float32)
            sums = self.train_step(batch.images, batch.labels, batch.real, rows).numpy()
            progress.sums += (*sums, plan.global_rows[step])
            progress.step = step + 1
            now = time.monotonic()
            if now - reported > SECONDS_BETWEEN_REPORTS:
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

    def evaluate(self, split: str) -> tuple[float, float]:
        """Loss and accuracy of a split: sums over all its rows on all ranks, divided once."""
        files = [i for i, file in enumerate(self.files) if file.split == split and file.copy == 0]
        plan = self.rank_plan(files, shuffle=None)
        sums, reported = np.zeros(3), time.monotonic()
        for batch in _ahead(self.stream.batches(plan)):
            loss, correct = self.evaluate_step(batch.images, batch.labels, batch.real)
            sums += (float(loss), float(correct), batch.real.sum())
            if time.monotonic() - reported > SECONDS_BETWEEN_REPORTS:
                self.report(event="alive")  # a rank that is silent for long is taken for dead
                reported = time.monotonic()
        loss, correct, rows = distributed.total(sums.tolist())
        return float(loss / rows), float(correct / rows)

    # ---- one step ----

    @compiled
    def train_step(self, images: tf.Tensor, labels: tf.Tensor, real: tf.Tensor, global_rows: tf.Tensor) -> tf.Tensor:
        """Move the weights by the gradient of the mean loss over all real rows of all ranks.

        Keras would divide by the batch size, padding included; here the sums are added up over the ranks and
        divided once by the number of real rows.

        Returns:
            float32 (2,), the step's loss and number of correct rows, summed over all rows of all ranks.
        """
        with tf.GradientTape() as tape:
            logits = self.logits(images, training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits) * real
            objective = tf.reduce_sum(losses * tf.gather(self.class_weights, labels)) / global_rows
        variables = self.model.trainable_variables
        sums = tf.stack([tf.reduce_sum(losses), _correct(logits, labels, real)])
        *gradients, sums = distributed.add_up([*tape.gradient(objective, variables), sums])
        self.optimizer.apply(gradients, variables)
        return sums

    @compiled
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

    def seed_dropout(self, epoch: int, step: int) -> None:
        """Random numbers of the epoch, the rank and the step, so that a run goes on as if it had not stopped."""
        for layer in self.model.layers:
            if isinstance(layer, keras.layers.Dropout):
                seed = hash64(self.config.train.seed, "dropout", f"{epoch}/{self.rank}/{layer.name}") % 2**31
                layer.seed_generator.state.assign([seed, step])

    # ---- the bundle ----

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
    return counts.sum() / (len(counts) * np.maximum(counts, 1)) if balanced else np.ones(len(counts))


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
