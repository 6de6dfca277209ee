"""Owns what our side of each comparison does, by the functions that the jobs run, and every role by its name.

Each role is a function of the arguments that it was started with to a unit of work, which tells how many
photographs or rows it did.
"""

import itertools
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bench_given import IDLE_SECONDS, Arguments, Unit, configuration, one_rank, session, wake_workers
from bench_rivals import bare, fit, predict, pyarrow, student
from bench_sides import serve, timed
from dermaspark.dataset import DataFile

STALL_MINUTES = 1e6

Role = Callable[[Arguments], Unit]


# ---- preprocess ----


def prepare(given: Arguments) -> Unit:
    """jobs/preprocess.py's work, photographs to a finished dataset, in a session that stands.

    More than `gathered` photographs, where that is given, are divided on executors.
    """
    from dermaspark import gathered, preparation

    gathered.LIMIT = given.get("gathered", gathered.LIMIT)
    if given["cores"] == 1:  # the JVM and Spark's Python workers share it
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    spark = session(given["cores"])
    config = configuration(given)

    def unit() -> float:
        return preparation.prepare(spark, config).counts["found"]

    return unit


# ---- stream ----


def stream(given: Arguments) -> Unit:
    """An epoch out of the training stream."""
    trainer = one_rank(given)
    epochs = iter(range(10**9))

    def unit() -> float:
        plan = trainer.plan(next(epochs))
        return sum(batch.real.sum() for batch in trainer.stream.batches(plan))

    return unit


# ---- train ----


def train(given: Arguments) -> Unit:
    """An epoch of jobs/train.py's loop on this rank, without the checkpoint at its end."""
    from dermaspark.checkpoint import CheckpointStore
    from dermaspark.resumption import Progress, resume
    from dermaspark.stream import ahead

    trainer = one_rank(given)
    store = CheckpointStore(f"file://{tempfile.gettempdir()}/bench-no-checkpoints")  # written to by nobody
    resume(trainer, store)
    batches = ahead(trainer.batches_from(0, 0))
    epochs = iter(range(10**9))

    def unit() -> float:
        epoch = next(epochs)
        trainer.train_epoch(batches, Progress(epoch=epoch), store)
        return trainer.plan(epoch).rows

    return unit


def allreduce(given: Arguments) -> Unit:
    """Ten sums over the ranks of the next of so many bytes: as on one host, or as between hosts, by Horovod.

    The first unit is one of each, for its graph to be traced.
    """
    if given["way"] == "hosts":
        os.environ["HOROVOD_CYCLE_TIME"] = "1"  # Horovod's own: `distributed` sets it where all are on one host
    import horovod.tensorflow as hvd
    import tensorflow as tf
    from dermaspark import distributed

    distributed.start()
    values = [tf.zeros(size // 4) for size in given["sizes"]]
    if given["way"] == "hosts":
        sums = [tf.function(lambda value=value: hvd.grouped_allreduce([value], op=hvd.Sum)[0]) for value in values]
    else:
        sums = [tf.function(lambda value=value: distributed.add_up([value])[0]) for value in values]
    turns = itertools.chain([sums], itertools.cycle([[each] * 10 for each in sums]))

    def unit() -> float:
        turn = next(turns)
        for add_up in turn:
            add_up().numpy()
        return len(turn)

    return unit


# ---- score ----


def score(given: Arguments) -> Unit:
    """jobs/evaluate.py's scoring of a dataset to Parquet, each of its files under `scored` names."""
    from dermaspark import bundle, scoring
    from dermaspark.dataset import read_manifest

    spark = session(given["cores"])
    url, model = f"file://{given['dataset']}", f"file://{given['model']}"
    manifest = read_manifest(url)
    manifest = replace(manifest, files=_linked(Path(given["dataset"]), manifest.files, given["scored"]))
    document = bundle.read_document(model)

    def unit() -> float:
        scoring.score_dataset(spark, model, document, url, manifest, f"file://{given['output']}")
        return sum(file.rows for file in manifest.files)

    return unit


def _linked(root: Path, files: list[DataFile], names: int) -> list[DataFile]:
    """The photographs' files under so many names each: a path is scored once, however often it is listed."""
    linked = []
    for file in files:
        for number in range(names if file.copy == 0 else 0):
            path = file.path.removesuffix(".parquet") + f".{number}.parquet"
            (root / path).unlink(missing_ok=True)
            os.link(root / file.path, root / path)
            linked.append(replace(file, path=path))
    return linked


def make_model(given: Arguments) -> Unit:
    """A bundle to score with, untrained: scoring costs the same."""
    from dermaspark import bundle, outcome

    trainer = one_rank(given)

    def unit() -> float:
        bundle.save(f"file://{given['model']}", outcome.take_bundle(trainer, [], []))
        return 1

    return unit


# ---- several ranks, and roles by name ----


def ranks(given: Arguments, address: str) -> None:
    """A role on several ranks, which the launcher starts and which answer to the bench themselves."""
    from dermaspark.launcher import HorovodDistributor

    spark = session(given["ranks"])
    HorovodDistributor(spark, given["ranks"], stall_minutes=STALL_MINUTES).run(_serve_rank, given, address)


def _serve_rank(given: Arguments, address: str) -> None:
    os.environ["HOROVOD_GLOO_TIMEOUT_SECONDS"] = IDLE_SECONDS
    serve(address, timed(ROLES[given["role"]](given), wake_workers))


ROLES: dict[str, Role] = {
    role.__name__: role
    for role in (prepare, bare, student, stream, pyarrow, train, fit, allreduce, make_model, score, predict)
}


def main() -> None:
    role, address, given = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    if role == "ranks":
        ranks(given, address)
    else:
        serve(address, timed(ROLES[role](given), wake_workers))


if __name__ == "__main__":
    # The module that the ranks will import, not this copy of it named __main__.
    import bench_roles

    bench_roles.main()
