"""The featuriser's promises: no labels, no order, no batch, no view, no pickle."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from dermaspark.features import FeatureSpec, Featuriser, Scale, blocks
from dermaspark.features.featuriser import FAMILIES, describe, raw_width
from drawn import apply, fit, photographs, views
from PIL import Image

SPEC = FeatureSpec(scales=(Scale(64, 2, 8), Scale(32, 1, 4)), patch_samples=400, components=12)


@pytest.fixture(scope="module")
def images():
    return photographs(24)


@pytest.fixture(scope="module")
def featuriser(images):
    return fit(images, SPEC)


def by_family(featuriser, images):
    """What `apply` gives, taken apart."""
    ends = np.cumsum(list(featuriser.widths().values()))
    return dict(zip(featuriser.widths(), np.split(apply(featuriser, images), ends[:-1], axis=1), strict=True))


def test_each_family_gives_as_many_numbers_as_it_says(featuriser, images):
    features = apply(featuriser, images)
    assert features.shape == (24, sum(featuriser.widths().values()))
    assert tuple(featuriser.widths()) == FAMILIES
    assert features.dtype == np.float32
    raw = describe(images[0], SPEC, featuriser.dictionaries)
    assert len(raw) == sum(raw_width(family, SPEC) for family in FAMILIES)


def test_turning_or_mirroring_a_photograph_changes_nothing_that_matters(featuriser, images):
    everyone = by_family(featuriser, images)
    for image in images[:3]:
        for family, turned in by_family(featuriser, np.stack(views(image))).items():
            spread = everyone[family].std(0).max()
            assert np.abs(turned - turned[0]).max() < 0.05 * spread, family


def test_a_photograph_gets_the_same_features_in_any_batch(featuriser, images):
    together = apply(featuriser, images)
    for i in (0, 7, 23):
        np.testing.assert_allclose(apply(featuriser, images[i : i + 1])[0], together[i], rtol=0, atol=1e-6)


def test_no_photograph_gives_no_features(featuriser, images):
    assert apply(featuriser, images[:0]).shape == (0, 36)


def test_of_too_many_photographs_the_first_are_fitted_on(images):
    spec = FeatureSpec(families=("covariance",), components=4, photographs=10)
    bounded, first = fit(images, spec).to_arrays(), fit(images[:10], spec).to_arrays()
    for name, array in first.items():
        np.testing.assert_array_equal(bounded[name], array, err_msg=name)


def test_fewer_photographs_than_numbers_give_the_same_axes_either_way():
    features = np.random.Generator(np.random.Philox(0)).normal(size=(40, 60)).astype(np.float32)
    wide, tall = blocks.fit(features, 5), blocks.fit(np.concatenate([features] * 2), 5)  # by way of rows, of columns
    np.testing.assert_allclose(wide.apply(features), tall.apply(features), atol=1e-4)


def test_another_seed_draws_other_patches(featuriser, images):
    other = fit(images, FeatureSpec(SPEC.families, SPEC.scales, 400, components=12, seed=1))
    assert not np.array_equal(other.dictionaries[0].patches, featuriser.dictionaries[0].patches)


def test_a_bundle_of_arrays_and_json_gives_the_same_features(tmp_path: Path, featuriser, images):
    np.savez(tmp_path / "featuriser.npz", **featuriser.to_arrays())
    spec = FeatureSpec.from_dict(json.loads(json.dumps(featuriser.spec.to_dict())))
    with np.load(tmp_path / "featuriser.npz", allow_pickle=False) as arrays:
        loaded = Featuriser.from_arrays(spec, arrays)
    assert spec == featuriser.spec
    np.testing.assert_array_equal(apply(loaded, images[:4]), apply(featuriser, images[:4]))


def test_a_bundle_that_lacks_an_array_is_refused_by_its_name(featuriser):
    arrays = featuriser.to_arrays()
    del arrays["block.patches.axes"]
    with pytest.raises(KeyError, match=r"block\.patches\.axes"):
        Featuriser.from_arrays(featuriser.spec, arrays)


@pytest.mark.parametrize("shape", [(64, 64), (150, 200), (128, 128), (40, 300)])
def test_photographs_of_any_size_are_taken(featuriser, shape):
    assert np.isfinite(apply(featuriser, photographs(2, *shape))).all()


@pytest.mark.parametrize("kind", ["black", "white", "noise", "one dot", "stripes"])
def test_what_is_no_lesion_gets_finite_features(featuriser, kind):
    image = np.zeros((96, 96, 3), np.uint8)
    if kind == "white":
        image[:] = 255
    elif kind == "noise":
        image[:] = np.random.Generator(np.random.Philox(0)).integers(0, 256, image.shape)
    elif kind == "one dot":
        image[:], image[48, 48] = 200, 0
    elif kind == "stripes":
        image[::8] = 255
    assert np.isfinite(apply(featuriser, image[None])).all()
    assert np.isfinite(describe(image, SPEC, featuriser.dictionaries)).all()


def test_real_photographs_keep_their_features_when_turned(featuriser):
    folder = os.environ.get("DERMASPARK_HAM10000")
    if not folder:
        pytest.skip("DERMASPARK_HAM10000 names no folder of photographs")
    files = sorted(Path(folder).glob("*/*.jpg"))[::400]
    real = np.stack([np.asarray(Image.open(f).convert("RGB").resize((128, 128))) for f in files])
    fitted = fit(real, SPEC)
    everyone = by_family(fitted, real)
    turned = by_family(fitted, np.ascontiguousarray(np.rot90(real, 1, axes=(1, 2))[:, :, ::-1]))
    for family in FAMILIES:
        assert np.abs(turned[family] - everyone[family]).max() < 0.1 * everyone[family].std(0).max(), family
