"""Cross-validation goes on with the folds of the same run alone."""

from dataclasses import replace

import pytest
from dermaspark.catalog import sources
from dermaspark.config import to_dict
from dermaspark.crossval import check_fold, fold_config
from dermaspark.dataset import Manifest
from dermaspark.errors import UserError
from dermaspark.preparation import preprocessing


def test_a_fold_of_other_photographs_or_settings_is_refused(configure, tmp_path):
    for name in ("these", "others"):
        (tmp_path / name).mkdir()
    config = fold_config(configure(f"input.path={tmp_path}/these"), 5, 2, f"file://{tmp_path}/out")
    made = Manifest(
        classes=["a", "b"],
        preprocessing={**preprocessing(config.image, config.input), "features": {}},
        augment=to_dict(config.augment),
        split=to_dict(config.split),
        sources=sources(config.input.path),
        columns=[],
        counts={},
        class_counts={},
        protocol={},
        files=[],
    )
    check_fold(made, config)
    for key, other in (
        ("input.path", replace(config, input=replace(config.input, path=f"{tmp_path}/others"))),
        ("split", replace(config, split=replace(config.split, seed=1))),
        ("augment", replace(config, augment=replace(config.augment, copies=7))),
        ("image", replace(config, image=replace(config.image, width=32))),
    ):
        with pytest.raises(UserError, match=f"fold-2/dataset: an unfinished run made it with {key}="):
            check_fold(made, other)
