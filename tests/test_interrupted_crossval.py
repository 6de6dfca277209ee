"""Cross-validation goes on with the folds of the same run alone."""

from dataclasses import replace

import pytest
from dermaspark.catalog import sources
from dermaspark.census import grouped_by
from dermaspark.config import to_dict
from dermaspark.crossval import check_dataset, check_model, fold_config
from dermaspark.dataset import Manifest
from dermaspark.errors import UserError
from dermaspark.preparation import preprocessing


def test_a_fold_of_other_photographs_or_settings_is_refused(configure, tmp_path):
    for name in ("these", "others"):
        (tmp_path / name).mkdir()
    config = fold_config(configure(f"input.path={tmp_path}/these"), 5, 2, f"file://{tmp_path}/out")
    made = Manifest(
        classes=["a", "b"],
        preprocessing={**preprocessing(config.image, config.input), "features": {"spec": to_dict(config.features)}},
        augment=to_dict(config.augment),
        split=to_dict(config.split),
        sources=sources(config.input.path),
        columns=[],
        counts={},
        class_counts={},
        protocol={"grouped_by": grouped_by(config)},
        files=[],
    )
    check_dataset(made, config)
    for key, other in (
        ("input.path", replace(config, input=replace(config.input, path=f"{tmp_path}/others"))),
        ("split", replace(config, split=replace(config.split, seed=1))),
        ("augment", replace(config, augment=replace(config.augment, copies=7))),
        ("image", replace(config, image=replace(config.image, width=32))),
        ("features.families", replace(config, features=replace(config.features, families=["covariance"]))),
        ("features.components", replace(config, features=replace(config.features, components=3))),
        ("grouped by", replace(config, input=replace(config.input, groups="table.csv"))),
    ):
        with pytest.raises(UserError, match=f"fold-2/dataset: an unfinished run made it with {key}="):
            check_dataset(made, other)


def test_a_fold_s_model_of_other_settings_is_refused(configure, tmp_path):
    config = fold_config(configure(f"input.path={tmp_path}"), 5, 2, f"file://{tmp_path}/out")
    made = {"network": to_dict(config.network), "train": to_dict(config.train)}
    check_model(made, replace(config, train=replace(config.train, num_processes=7)))
    for key, other in (
        ("network", replace(config, network=replace(config.network, heads=9))),
        ("train", replace(config, train=replace(config.train, epochs=99))),
    ):
        with pytest.raises(UserError, match=f"fold-2/model: an unfinished run made it with {key}="):
            check_model(made, other)
