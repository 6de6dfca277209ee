"""A training run as the driver sees it: what it stands on is checked, ranks are launched, their progress is shown."""

import logging
import math
import sys
import time
from dataclasses import asdict
from typing import Any

from pyspark.sql import SparkSession

from dermaspark import bundle, storage
from dermaspark.checkpoint import CheckpointStore
from dermaspark.config import Config
from dermaspark.dataset import read_manifest
from dermaspark.errors import UserError
from dermaspark.launcher import HorovodDistributor
from dermaspark.sparing import sparing_imports

log = logging.getLogger("dermaspark")

SECONDS_BETWEEN_LINES = 10.0  # of progress within an epoch, where there is no terminal to draw a line anew


def train(spark: SparkSession, config: Config) -> dict[str, Any]:
    """Train until the bundle is there; an unfinished run goes on where it stopped.

    Returns:
        'history', one entry an epoch, and 'kept_epoch', an index into it: the one whose weights the bundle has.

    Raises:
        UserError: no dataset, one that petastorm can't name, no training rows, a finished bundle, a checkpoint of
            another run, too few slots.
    """
    settings = config.train
    data_url, model_url = storage.resolve(config.data.path), storage.resolve(config.model.path)
    checkpoints = storage.resolve(settings.checkpoint_path) if settings.checkpoint_path else model_url + ".checkpoints"
    manifest = read_manifest(data_url)
    if not manifest.counts["train"]:
        raise UserError(f"data.path={data_url}: has no training photographs")
    if set(data_url) & set("#?"):
        raise UserError(f"data.path={data_url}: petastorm takes a path to end at # or ?; move the dataset to another")
    if settings.copies_per_epoch > manifest.copies:
        raise UserError(f"train.copies_per_epoch={settings.copies_per_epoch}: the dataset has {manifest.copies} copies")
    storage.reserve(model_url, bundle.DOCUMENT, "model.path", config.overwrite, bundle.ENTRIES)
    store = CheckpointStore(checkpoints)
    store.check_writable()
    if config.overwrite or settings.resume == "never":
        store.clear()
    counts = ", ".join(f"{split} {manifest.counts[split]}" for split in ("train", "val"))
    log.info("training on %d ranks: %s photographs, %d copies", settings.num_processes, counts, manifest.copies)
    distributor = HorovodDistributor(
        spark,
        settings.num_processes,
        use_gpu=settings.use_gpu,
        network_interface=settings.network_interface,
        max_restarts=settings.max_restarts,
        stall_minutes=settings.stall_minutes,
        slots_timeout=settings.slots_timeout,
        allow_clear_text=settings.allow_clear_text,
        on_message=Console().show,
    )
    urls = {"data": data_url, "model": model_url, "checkpoints": checkpoints}
    result: dict[str, Any] = distributor.run(run_rank, config, urls)
    return result


def run_rank(config: Config, urls: dict[str, str]) -> dict[str, Any]:
    """What the launcher runs in each rank's process; TensorFlow is imported there alone."""
    from dermaspark import rank

    with sparing_imports():
        from dermaspark.training import train_rank

    deaths = [asdict(death) for death in rank.context().deaths]
    return train_rank(config, urls, deaths, rank.report)


class Console:
    """Progress of rank 0 on the driver's terminal: a line an epoch, and one drawn anew while it runs."""

    def __init__(self) -> None:
        self.on_terminal = sys.stderr.isatty()
        self.last_line = -math.inf  # the first step is told at once
        self.rate = 0.0

    def show(self, rank: int, message: dict[str, Any]) -> None:
        if rank != 0:
            return
        event = message.get("event")
        if event == "step":
            self._step(message)
        elif event == "epoch":
            self._epoch(message)
        elif event == "resumed":
            log.info("going on from epoch %d, step %d", message["epoch"] + 1, message["step"])

    def _step(self, message: dict[str, Any]) -> None:
        self.rate = message["rate"]
        line = f"epoch {message['epoch'] + 1}  step {message['step']}/{message['steps']}"
        line += f"  loss {message['loss']:.4f}  {self.rate:,.0f} rows/s"
        if self.on_terminal:
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - self.last_line > SECONDS_BETWEEN_LINES:
            self.last_line = time.monotonic()
            log.info(line)

    def _epoch(self, message: dict[str, Any]) -> None:
        self.last_line = time.monotonic()
        line = f"epoch {message['epoch'] + 1}/{message['epochs']}"
        for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
            if name in message:
                line += f"  {name} {message[name]:.4f}"
        line += f"  learning_rate {message['learning_rate']:.2g}  {message['rate']:,.0f} rows/s"
        if self.on_terminal:
            print("\r\033[K", end="", file=sys.stderr)
        log.info(line)
