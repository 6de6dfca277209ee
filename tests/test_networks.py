"""The networks' promises: probabilities from what the dataset holds, and models that Keras alone loads in safe mode."""

import numpy as np
import pytest
from dermaspark.config import Network
from dermaspark.errors import UserError

PREPROCESSING = {"height": 16, "width": 16, "features": {"widths": {"patches": 5, "covariance": 7}}}


def rows(reads: str, n: int) -> np.ndarray:
    random = np.random.Generator(np.random.Philox(0))
    if reads == "features":
        return random.normal(size=(n, 12)).astype(np.float32)
    return random.integers(0, 256, (n, 16, 16, 3)).astype(np.uint8)


@pytest.mark.parametrize("name", ["fused", "seed", "residual", "mixer"])
def test_keras_alone_loads_a_network_and_gives_the_same_probabilities(name, tmp_path):
    import keras
    from dermaspark import networks

    model = networks.build(Network(name, hidden=[8], width=6), PREPROCESSING, 4, seed=1)
    given = rows(networks.READS[name], 3)
    scores = np.asarray(model(given))
    assert scores.shape == (3, 4)
    assert scores.sum(axis=1) == pytest.approx(1, abs=1e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    np.testing.assert_array_equal(np.asarray(loaded(given)), scores)


def test_the_same_seed_gives_the_same_weights_and_another_does_not():
    from dermaspark import networks

    first, again, other = (networks.build(Network(width=6), PREPROCESSING, 4, seed).get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_a_family_of_features_has_heads_that_see_it_alone_and_all_have_wide_ones():
    from dermaspark import networks

    network = Network(width=6, heads=2, wide_heads=3, wide_units=9)
    model = networks.logits_of(networks.build(network, PREPROCESSING, 4, seed=0))
    given = rows("features", 2)
    changed = given.copy()
    changed[:, :5] += 1
    before, after = np.asarray(model(given)), np.asarray(model(changed))
    assert before.shape == (2, 7, 4), "two heads on each of two families, three on both"
    changes = np.abs(after - before).max(axis=(0, 2))
    assert (changes[[0, 1, 4, 5, 6]] > 1e-3).all()
    np.testing.assert_array_equal(before[:, 2:4], after[:, 2:4])


def test_the_fused_probabilities_are_the_geometric_mean_of_the_heads():
    from dermaspark import networks

    model = networks.build(Network(width=6), PREPROCESSING, 4, seed=0)
    heads = np.exp(np.asarray(networks.logits_of(model)(rows("features", 5)), np.float64))
    heads /= heads.sum(axis=2, keepdims=True)
    assert heads.shape == (5, 4, 4), "one head on each of two families, two on both"
    mean = np.prod(heads, axis=1) ** 0.25
    np.testing.assert_allclose(np.asarray(model(rows("features", 5))), mean / mean.sum(1, keepdims=True), atol=1e-6)


def test_a_network_that_does_not_suit_the_dataset_is_refused_in_a_line():
    from dermaspark import networks

    with pytest.raises(UserError, match=r"network\.name=fused: the dataset has no features"):
        networks.build(Network(), {"height": 16, "width": 16}, 4, seed=0)
    with pytest.raises(UserError, match=r"network\.patch=5: does not divide the photographs' 16 x 16 pixels"):
        networks.build(Network("mixer", patch=5), PREPROCESSING, 4, seed=0)
