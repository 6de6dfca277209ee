"""Owns what the roles of the benchmark are given, and what they make of it: a configuration, a session, a rank."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

IDLE_SECONDS = "100000"  # a side that stands still must not be taken for dead

Arguments = dict[str, Any]
Unit = Callable[[], float]

_open: list[tuple[Any, Any]] = []  # sessions, and their contexts, so that they are not stopped


def configuration(given: Arguments) -> Any:
    from dermaspark.command_line import load

    return load(given.get("set", []), Path(given["config"]))


def session(cores: int) -> Any:
    """A session that stands until the process is killed."""
    from dermaspark.session import spark_session

    conf = f"--conf spark.network.timeout={IDLE_SECONDS}s"
    os.environ["PYSPARK_SUBMIT_ARGS"] = f"--master local[{cores}] --driver-memory 1g {conf} pyspark-shell"
    context = spark_session("dermaspark bench", "info")
    spark = context.__enter__()
    _open.append((spark, context))
    spark.range(cores * 4).repartition(cores).count()
    return spark


def wake_workers() -> None:
    """Have this process' sessions, if any, start their Python workers again: Spark ends them after an idle minute."""

    def import_all(batches: Iterable[Any]) -> Iterator[Any]:
        import dermaspark.preparation  # noqa: F401 - what its tasks import

        yield from batches

    for spark, _ in _open:
        spark.range(spark.sparkContext.defaultParallelism).mapInArrow(import_all, "id long").count()


def one_rank(given: Arguments) -> Any:
    """A Trainer on this process' rank, of as many as there are."""
    from dermaspark import distributed
    from dermaspark.dataset import read_manifest
    from dermaspark.training import Trainer

    rank, ranks = distributed.start()
    config = configuration(given)
    many = 10**6  # epochs, more than there is time for, and no minute at which to write a checkpoint
    settings = replace(config.train, batch_size=given["batch"] * ranks, epochs=many, checkpoint_minutes=many)
    config = replace(config, train=settings)
    url = f"file://{given['dataset']}"
    manifest = read_manifest(url)
    counts = {**manifest.counts, "val": 0}  # an epoch without validation
    manifest = replace(manifest, files=manifest.files * given["times"], counts=counts)
    return Trainer(config, manifest, url, rank, ranks, lambda **_: None)


def rows_of(trainer: Any, copies: tuple[int, ...] | None = None) -> tuple[Any, Any]:
    """Images and labels of the first epoch, or of all photographs in the given copies, in memory."""
    if copies is None:
        plan = trainer.plan(0)
    else:
        plan = trainer.rank_plan([i for i, file in enumerate(trainer.files) if file.copy in copies], shuffle=None)
    batches = list(trainer.stream.batches(plan))
    real = np.concatenate([batch.real for batch in batches]) > 0
    inputs = np.concatenate([batch.inputs for batch in batches])[real]
    return inputs, np.concatenate([batch.labels for batch in batches])[real]
