"""The pretrained family: the numbers that PyTorch's own network gives, and a clear word where its weights lack."""

import hashlib
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from dermaspark import featurising
from dermaspark.config import Features
from dermaspark.errors import UserError
from dermaspark.features import FeatureSpec, efficientnet
from drawn import apply, fit, photograph, photographs, views

# What PyTorch 2.13 with the package efficientnet-lite-pytorch 0.1.0 gives of the same photograph, rounded
REFERENCE = json.loads((Path(__file__).parent / "efficientnet_reference.json").read_text())

installed = pytest.mark.skipif(
    importlib.util.find_spec(efficientnet.FILE[0]) is None,
    reason=f"{efficientnet.PACKAGE} is not installed (requirements-pretrained.lock)",
)


@installed
def test_the_numbers_are_those_of_pytorchs_network() -> None:
    found = efficientnet.describe(photograph("0.jpg"))
    assert found.shape == (efficientnet.WIDTH,) and found.dtype == np.float32
    np.testing.assert_allclose(found[:: REFERENCE["every"]], REFERENCE["numbers"], rtol=0, atol=1e-4)


@installed
def test_turning_or_mirroring_a_photograph_changes_nothing() -> None:
    found = np.stack([efficientnet.describe(view) for view in views(photograph("1.jpg"))])
    apart = np.linalg.norm(found - found[0], axis=1)  # not quite 0: resizing rounds
    assert apart.max() < 0.05 * np.linalg.norm(efficientnet.describe(photograph("2.jpg")) - found[0])


@installed
def test_it_is_a_family_like_the_others_and_says_whose_weights_it_has(tmp_path) -> None:
    images = photographs(6)
    fitted = fit(images, FeatureSpec(families=("covariance", "efficientnet"), components=3))
    assert apply(fitted, images).shape == (6, 6) and fitted.widths()["efficientnet"] == 3
    described = featurising.save(f"file://{tmp_path}", fitted)
    assert described["weights"] == {"package": efficientnet.PACKAGE, "sha256": efficientnet.SHA256}
    np.testing.assert_array_equal(
        apply(featurising.load(f"file://{tmp_path}", described), images), apply(fitted, images)
    )
    described["weights"]["sha256"] = "another"
    with pytest.raises(UserError, match="was fitted to the weights of"):
        featurising.load(f"file://{tmp_path}", described)


def test_without_the_package_one_line_says_how_to_install_it(monkeypatch) -> None:
    monkeypatch.setattr(efficientnet, "FILE", ("no_such_package_here", *efficientnet.FILE[1:]))
    with pytest.raises(UserError) as error:
        featurising.spec_of(Features(families=["efficientnet"]), 0)
    assert str(error.value).startswith(
        f"features.families: efficientnet needs the weights of the package {efficientnet.PACKAGE}"
    )
    assert "requirements-pretrained.lock" in str(error.value) and "\n" not in str(error.value)
    assert featurising.spec_of(Features(), 0).families == tuple(Features().families)


def test_another_file_than_the_one_known_is_not_read(tmp_path, monkeypatch) -> None:
    package = tmp_path / "weights_of_another"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('none of its code is run')")
    (package / "models" / "w.pth").write_bytes(b"another")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(efficientnet, "FILE", ("weights_of_another", "models", "w.pth"))
    with pytest.raises(UserError, match=r"w.pth: is not the file of .* \(sha256 5793"):
        efficientnet.check()
    monkeypatch.setattr(efficientnet, "SHA256", hashlib.sha256(b"another").hexdigest())
    with pytest.raises(UserError, match=r"weights_of_another/models/w.pth: damaged|has the instruction"):
        efficientnet.read_weights()
