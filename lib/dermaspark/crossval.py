"""Cross-validation: each photograph scored by a model that did not see its group, all of them counted together."""

import logging
from dataclasses import replace
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from dermaspark import bundle, catalog, dataset, evaluation, scoring, storage
from dermaspark.checkpoint import CheckpointStore
from dermaspark.config import FREE_TO_CHANGE, Config, Data, Model, Output, to_dict
from dermaspark.errors import UserError
from dermaspark.groups import checksum, read_labels
from dermaspark.preparation import prepare, read_groups
from dermaspark.run import train

log = logging.getLogger("dermaspark")

FOLDS = 5
OUT_OF_FOLD = "out_of_fold"
DEFAULT_OUTPUT = "runs/crossval"
BEGUN = "crossval.json"  # what the run began with: it goes on with the same alone
ENTRIES = (*evaluation.ENTRIES, BEGUN, "fold-*")
DECIDING = ("image", "features", "augment", "audit", "split", "network", "train")  # sections of the configuration


def cross_validate(spark: SparkSession, config: Config) -> dict[str, Any]:
    """Preprocess, train and score every fold, and write the pooled figures; an interrupted run goes on.

    Returns:
        what metrics.json holds: its one split is 'out_of_fold'.

    Raises:
        UserError: as from preprocessing, training and evaluation, and where an interrupted run began with other
            settings, tables or photographs (by their names).
    """
    url = storage.resolve(config.output.path or DEFAULT_OUTPUT)
    folds = config.split.folds or FOLDS
    output = (url, evaluation.METRICS, "output.path", config.overwrite, ENTRIES)
    storage.reserve(*output)
    begun, wanted = storage.join(url, BEGUN), what_decides(spark, config)
    if not config.overwrite and not storage.exists(begun) and storage.exists(storage.join(url, "fold-0")):
        raise UserError(f"{url}: an earlier version began a run there; overwrite=true starts afresh")
    if config.overwrite or not storage.exists(begun):
        storage.claim(*output)
        for fold in range(folds):
            if path := fold_config(config, folds, fold, url).train.checkpoint_path:
                CheckpointStore(storage.resolve(path)).clear()
        storage.write_json(begun, wanted)
    check_same(begun, wanted)
    for fold in range(folds):
        log.info("fold %d of %d", fold + 1, folds)
        run_fold(spark, fold_config(config, folds, fold, url))
    parts = [fold_config(config, folds, fold, url) for fold in range(folds)]
    manifests = [dataset.read_manifest(part.data.path) for part in parts]
    predictions_url = storage.join(url, evaluation.PREDICTIONS)
    storage.remove(predictions_url)
    for part, manifest in zip(parts, manifests, strict=True):
        score_fold(spark, part, manifest, predictions_url)
    predictions = spark.read.parquet(storage.literal(predictions_url))
    evaluation.check_counts(predictions, sum(manifest.counts["test"] for manifest in manifests), url)
    first, document = manifests[0], bundle.read_document(parts[0].model.path)
    n = {name: sum(manifest.class_counts["train"].get(name, 0) for manifest in manifests) for name in first.classes}
    protocol = {name: value for name, value in first.protocol.items() if name != "fold"}
    return evaluation.report_on(
        predictions,
        url,
        config.report,
        classes=first.classes,
        class_counts=n,
        columns=first.columns,
        dataset={
            "counts": {
                "found": first.counts["found"],
                "unreadable": first.counts["unreadable"],
                OUT_OF_FOLD: predictions.count(),
            },
            "sources": first.sources,
        },
        model=document["training"],
        protocol=protocol,
        history=[],
        datasets=[part.data.path for part in parts],
    )


def fold_config(config: Config, folds: int, fold: int, url: str) -> Config:
    """The configuration of one fold's jobs, in a folder of its own."""
    folder, checkpoints = storage.join(url, f"fold-{fold}"), config.train.checkpoint_path
    return replace(
        config,
        split=replace(config.split, folds=folds, fold=fold),
        output=Output(storage.join(folder, "dataset")),
        data=Data(storage.join(folder, "dataset")),
        model=Model(storage.join(folder, "model")),
        train=replace(config.train, checkpoint_path=checkpoints and storage.join(checkpoints, f"fold-{fold}")),
        overwrite=False,
    )


def run_fold(spark: SparkSession, config: Config) -> None:
    """Preprocess and train, as far as an earlier run has not."""
    if not storage.exists(storage.join(config.data.path, dataset.MANIFEST)):
        prepare(spark, config)
    if not storage.exists(storage.join(config.model.path, bundle.DOCUMENT)):
        train(spark, config)


def what_decides(spark: SparkSession, config: Config) -> dict[str, Any]:
    """All that decides the figures, by key: settings, which photographs there are, and what the tables say."""
    sources = catalog.sources(config.input.path)
    names = catalog.find(spark, catalog.class_folders(sources)).where("kind != 'other'").select("id")
    table = read_groups(spark, config.input.groups)
    labels = read_labels(spark, storage.resolve(config.split.relabel)) if config.split.relabel else None
    sections = {name: to_dict(getattr(config, name)) for name in DECIDING}
    for free in (FREE_TO_CHANGE - {"epochs", "early_stopping_patience"}) & sections["train"].keys():
        del sections["train"][free]
    return {
        "input.path": sources,
        "input.max_pixels": config.input.max_pixels,
        "the names of the photographs": digest_of(names),
        "the rows of input.groups": None if table is None else digest_of(table),
        "the rows of split.relabel": None if labels is None else digest_of(labels),
        **{f"{name}.{key}": value for name, section in sections.items() for key, value in section.items()},
    }


def digest_of(rows: DataFrame) -> str:
    """A text that is the same for the same columns and rows, in any order of the rows."""
    n, hashes = checksum(rows.select(F.to_json(F.struct("*"))))  # with names, and what is null apart
    return f"{n} ({hashes or 0})"


def check_same(url: str, wanted: dict[str, Any]) -> None:
    """UserError where the file at `url` says that an unfinished run began with something else."""
    made = storage.read_json(url)
    for key, value in wanted.items():
        if made.get(key) != value:
            raise UserError(
                f"{url}: an unfinished run began with {key}={made.get(key)}, not {value}; "
                "overwrite=true starts afresh, or name another output.path"
            )


def score_fold(spark: SparkSession, config: Config, manifest: dataset.Manifest, to: str) -> None:
    """Write predictions for the photographs that a fold of `config` held back."""
    held_back = replace(manifest, files=[replace(file, split=OUT_OF_FOLD) for file in manifest.of("test")])
    document = bundle.read_document(config.model.path)
    scoring.score_dataset(spark, config.model.path, document, config.data.path, held_back, to)
