"""The featuriser's promises: no labels, no order, no batch, no view, no pickle."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from dermaspark.features import FeatureSpec, Featuriser, Scale, fit, precedence
from dermaspark.features.featuriser import FAMILIES, describe
from drawn import photographs, views
from PIL import Image

SPEC = FeatureSpec(scales=(Scale(64, 2, 8), Scale(32, 1, 4)), patch_samples=400, components=12)
IDS = [f"demo/{i}.jpg" for i in range(24)]


@pytest.fixture(scope="module")
def images():
    return photographs(24)


@pytest.fixture(scope="module")
def featuriser(images):
    return fit(images, IDS, SPEC)


def test_each_family_gives_as_many_numbers_as_it_says(featuriser, images):
    features = featuriser.apply(images)
    assert {family: f.shape for family, f in features.items()} == {
        family: (24, width) for family, width in featuriser.widths().items()
    }
    assert tuple(features) == FAMILIES
    assert all(f.dtype == np.float32 for f in features.values())


def test_turning_or_mirroring_a_photograph_changes_nothing_that_matters(featuriser, images):
    everyone = featuriser.apply(images)
    for image in images[:3]:
        for family, turned in featuriser.apply(np.stack(views(image))).items():
            spread = everyone[family].std(0).max()
            assert np.abs(turned - turned[0]).max() < 0.05 * spread, family


def test_a_photograph_gets_the_same_features_in_any_batch(featuriser, images):
    together = featuriser.apply(images)
    for i in (0, 7, 23):
        alone = featuriser.apply(images[i : i + 1])
        for family in FAMILIES:
            np.testing.assert_allclose(alone[family][0], together[family][i], rtol=0, atol=1e-6)


def test_no_photograph_gives_no_features(featuriser, images):
    assert all(f.shape == (0, 12) for f in featuriser.apply(images[:0]).values())


def test_the_fit_is_the_same_for_any_order_of_the_rows(featuriser, images):
    order = np.random.Generator(np.random.Philox(1)).permutation(24)
    shuffled = fit(images[order], [IDS[i] for i in order], SPEC).to_arrays()
    for name, array in featuriser.to_arrays().items():
        np.testing.assert_array_equal(shuffled[name], array, err_msg=name)


def test_of_too_many_photographs_those_of_the_lowest_hash_are_fitted_on(images):
    spec = FeatureSpec(families=("covariance",), components=4, photographs=10)
    first = sorted(range(24), key=lambda i: precedence(IDS[i], spec))[:10]
    bounded, chosen = fit(images, IDS, spec), fit(images[first], [IDS[i] for i in first], spec)
    for name, array in chosen.to_arrays().items():
        np.testing.assert_array_equal(bounded.to_arrays()[name], array, err_msg=name)


def test_another_seed_draws_other_patches(featuriser, images):
    other = fit(images, IDS, FeatureSpec(SPEC.families, SPEC.scales, 400, 12, seed=1))
    assert not np.array_equal(other.dictionaries[0].patches, featuriser.dictionaries[0].patches)


def test_a_bundle_of_arrays_and_json_gives_the_same_features(tmp_path: Path, featuriser, images):
    np.savez(tmp_path / "featuriser.npz", **featuriser.to_arrays())
    spec = FeatureSpec.from_dict(json.loads(json.dumps(featuriser.spec.to_dict())))
    with np.load(tmp_path / "featuriser.npz", allow_pickle=False) as arrays:
        loaded = Featuriser.from_arrays(spec, arrays)
    assert spec == featuriser.spec
    for family, features in featuriser.apply(images[:4]).items():
        np.testing.assert_array_equal(loaded.apply(images[:4])[family], features)


def test_a_bundle_that_lacks_an_array_is_refused_by_its_name(featuriser):
    arrays = featuriser.to_arrays()
    del arrays["block.patches.axes"]
    with pytest.raises(KeyError, match=r"block\.patches\.axes"):
        Featuriser.from_arrays(featuriser.spec, arrays)


@pytest.mark.parametrize("shape", [(64, 64), (150, 200), (128, 128), (40, 300)])
def test_photographs_of_any_size_are_taken(featuriser, shape):
    assert all(np.isfinite(f).all() for f in featuriser.apply(photographs(2, *shape)).values())


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
    for family, features in featuriser.apply(image[None]).items():
        assert np.isfinite(features).all(), family
    for family, raw in describe(image, SPEC, featuriser.dictionaries).items():
        assert np.isfinite(raw).all(), family


def test_real_photographs_keep_their_features_when_turned(featuriser):
    folder = os.environ.get("DERMASPARK_HAM10000")
    if not folder:
        pytest.skip("DERMASPARK_HAM10000 names no folder of photographs")
    files = sorted(Path(folder).glob("*/*.jpg"))[::400]
    real = np.stack([np.asarray(Image.open(f).convert("RGB").resize((128, 128))) for f in files])
    fitted = fit(real, [f.name for f in files], SPEC)
    everyone = fitted.apply(real)
    turned = fitted.apply(np.ascontiguousarray(np.rot90(real, 1, axes=(1, 2))[:, :, ::-1]))
    for family in FAMILIES:
        assert np.abs(turned[family] - everyone[family]).max() < 0.1 * everyone[family].std(0).max(), family
