"""Cross-validation: each photograph scored by a model that did not see its group, all of them counted together."""

import logging
from dataclasses import replace
from typing import Any

from pyspark.sql import SparkSession

from dermaspark import bundle, catalog, dataset, evaluation, scoring, storage
from dermaspark.census import grouped_by
from dermaspark.config import FREE_TO_CHANGE, Config, Data, Model, Output, to_dict
from dermaspark.errors import UserError
from dermaspark.preparation import prepare, preprocessing
from dermaspark.run import train

log = logging.getLogger("dermaspark")

FOLDS = 5
OUT_OF_FOLD = "out_of_fold"
DEFAULT_OUTPUT = "runs/crossval"
ENTRIES = (*evaluation.ENTRIES, "fold-*")


def cross_validate(spark: SparkSession, config: Config) -> dict[str, Any]:
    """Preprocess, train and score every fold, and write the pooled figures; an interrupted run goes on.

    Returns:
        what metrics.json holds: its one split is 'out_of_fold'.

    Raises:
        UserError: as from preprocessing, training and evaluation.
    """
    url = storage.resolve(config.output.path or DEFAULT_OUTPUT)
    folds = config.split.folds or FOLDS
    if config.overwrite or not storage.is_unfinished(url, evaluation.METRICS):
        storage.claim(url, evaluation.METRICS, "output.path", config.overwrite, ENTRIES)
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
            "counts": {"found": first.counts["found"], OUT_OF_FOLD: predictions.count()},
            "sources": first.sources,
        },
        model=document["training"],
        protocol=protocol,
        history=[],
        datasets=[part.data.path for part in parts],
    )


def fold_config(config: Config, folds: int, fold: int, url: str) -> Config:
    """The configuration of one fold's jobs, in a folder of its own."""
    folder = storage.join(url, f"fold-{fold}")
    return replace(
        config,
        split=replace(config.split, folds=folds, fold=fold),
        output=Output(storage.join(folder, "dataset")),
        data=Data(storage.join(folder, "dataset")),
        model=Model(storage.join(folder, "model")),
        overwrite=False,
    )


def run_fold(spark: SparkSession, config: Config) -> None:
    """Preprocess and train, as far as an earlier run has not."""
    if storage.exists(storage.join(config.data.path, dataset.MANIFEST)):
        check_dataset(dataset.read_manifest(config.data.path), config)
    else:
        prepare(spark, config)
    if storage.exists(storage.join(config.model.path, bundle.DOCUMENT)):
        check_model(bundle.read_document(config.model.path)["training"], config)
    else:
        train(spark, config)


def check_dataset(manifest: dataset.Manifest, config: Config) -> None:
    """UserError where an earlier run made a fold's dataset of other photographs or with other settings."""
    pixels = preprocessing(config.image, config.input)
    spec = manifest.preprocessing.get("features", {}).get("spec", {})
    families, components = (list(spec.get("families", [])), spec.get("components", config.features.components))
    _compare(
        config.data.path,
        ("input.path", manifest.sources, catalog.sources(config.input.path)),
        ("split", manifest.split, to_dict(config.split)),
        ("augment", manifest.augment, to_dict(config.augment)),
        ("image", {name: manifest.preprocessing.get(name) for name in pixels}, pixels),
        ("features.families", families, config.features.families),
        ("features.components", components, config.features.components),
        ("grouped by", manifest.protocol["grouped_by"], grouped_by(config)),
    )


def check_model(training: dict[str, Any], config: Config) -> None:
    """UserError where an earlier run trained a fold's model with other settings."""

    def fixed(settings: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in settings.items() if key not in FREE_TO_CHANGE - {"epochs"}}

    _compare(
        config.model.path,
        ("network", training["network"], to_dict(config.network)),
        ("train", fixed(training["train"]), fixed(to_dict(config.train))),
    )


def _compare(url: str, *settings: tuple[str, Any, Any]) -> None:
    for key, made, wanted in settings:
        if made != wanted:
            raise UserError(
                f"{url}: an unfinished run made it with {key}={made}, not {wanted}; "
                "overwrite=true starts afresh, or name another output.path"
            )


def score_fold(spark: SparkSession, config: Config, manifest: dataset.Manifest, to: str) -> None:
    """Write predictions for the photographs that a fold of `config` held back."""
    held_back = replace(manifest, files=[replace(file, split=OUT_OF_FOLD) for file in manifest.of("test")])
    document = bundle.read_document(config.model.path)
    scoring.score_dataset(spark, config.model.path, document, config.data.path, held_back, to)
