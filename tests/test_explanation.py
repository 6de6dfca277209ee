"""Explanations point to what a model goes by: known models, so known answers."""

import numpy as np
import pytest
from dermaspark.explanation import importance, occlusion, skin_colour
from dermaspark.randomness import generator
from hypothesis import given
from hypothesis import strategies as st

SKIN = np.array([220, 180, 160], np.uint8)


def lesion(height: int = 64, width: int = 64, top: int = 30, left: int = 10, side: int = 12) -> np.ndarray:
    """Skin with a dark square on it."""
    image = np.tile(SKIN, (height, width, 1))
    image[top : top + side, left : left + side] = 40
    return image


def darkness(images: np.ndarray) -> np.ndarray:
    """A model that goes by the darkest pixels alone: class 1 has the share of dark pixels, and a little more."""
    share = 0.02 + (images[..., 0] < 100).mean(axis=(1, 2))
    return np.stack([1 - share, share], axis=1)


def test_an_occlusion_map_lights_up_where_the_model_looks() -> None:
    image = lesion()
    found = occlusion(darkness, image, 1)
    assert found.shape == (64, 64)
    assert found.dtype == np.float64
    place = np.unravel_index(found.argmax(), found.shape)
    assert 28 <= place[0] < 44
    assert 8 <= place[1] < 24
    assert found[:10].max() == 0
    assert found[:, 45:].max() == 0


def test_hiding_what_speaks_against_a_class_raises_it() -> None:
    assert occlusion(darkness, lesion(), 0).min() < 0
    assert occlusion(darkness, lesion(), 0).max() == 0


def test_the_map_is_the_drop_in_log_probability() -> None:
    image = lesion(top=10, left=10, side=4)
    found = occlusion(darkness, image, 1, patch=0.5, steps=2)
    whole, none = darkness(image[None])[0, 1], 0.02
    assert found.max() == pytest.approx(np.log(whole / none))


@given(st.integers(4, 40), st.integers(4, 40), st.floats(0.05, 1), st.integers(1, 12))
def test_every_pixel_is_hidden_at_least_once_at_any_size(height: int, width: int, patch: float, steps: int) -> None:
    image = np.arange(height * width * 3).reshape(height, width, 3).astype(np.uint8)
    changed = (image == skin_colour(image)).all(axis=2)  # a pixel of the patch's own colour changes unseen

    def watching(images: np.ndarray) -> np.ndarray:
        changed[:] |= (images != image).any(axis=(0, 3))
        return np.full((len(images), 2), 0.5)

    found = occlusion(watching, image, 0, patch, steps)
    assert changed.all()
    assert found.shape == (height, width)
    assert (found == 0).all()


def test_the_photograph_itself_is_left_as_it_was() -> None:
    image = lesion()
    occlusion(darkness, image, 1)
    np.testing.assert_array_equal(image, lesion())


def test_the_patch_has_the_colour_of_the_skin_around_and_not_of_lesion_or_tube() -> None:
    image = lesion(top=20, left=20, side=30)
    rows, columns = np.mgrid[:64, :64] - 31.5
    image[np.hypot(rows, columns) > 33] = 0  # a dermatoscope's tube
    np.testing.assert_array_equal(skin_colour(image), SKIN)


def data(n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Features of which the first two tell the label, the next three tell a little and the last two nothing."""
    random = generator(0, "test", "importance")
    labels = random.integers(0, 2, n)
    features = random.normal(size=(n, 7)).astype(np.float32)
    features[:, :2] += 3 * labels[:, None]
    features[:, 2:5] += 0.4 * labels[:, None]
    return features, labels


def linear(features: np.ndarray) -> np.ndarray:
    score = features[:, :2].sum(1) - 3 + 0.4 * features[:, 2:5].sum(1) - 0.24
    return np.stack([np.zeros_like(score), score], axis=1)


WIDTHS = {"strong": 2, "weak": 3, "none": 2}


def test_families_matter_as_much_as_the_model_uses_them() -> None:
    found = importance(linear, *data(), WIDTHS, generator(0, "test", "shuffle"))
    assert list(found) == list(WIDTHS)
    for key in ("accuracy_drop", "log_loss_rise"):
        assert found["strong"][key] > 3 * found["weak"][key] > 0
        assert found["none"][key] == pytest.approx(0, abs=1e-12)
    assert found["strong"]["accuracy_drop"] > 0.3


def test_importance_is_the_same_for_the_same_generator_and_leaves_the_features_alone() -> None:
    features, labels = data()
    before = features.copy()
    first, second = (importance(linear, features, labels, WIDTHS, generator(1, "test", "x")) for _ in range(2))
    assert first == second
    np.testing.assert_array_equal(features, before)


def test_log_probabilities_do_for_logits() -> None:
    def shifted(features: np.ndarray) -> np.ndarray:
        return linear(features) + features[:, :1]

    features, labels = data()
    one, other = (importance(of, features, labels, WIDTHS, generator(0, "t", "x")) for of in (linear, shifted))
    for family in WIDTHS:
        assert one[family] == pytest.approx(other[family], rel=1e-5, abs=1e-6)


def test_widths_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValueError, match="6 features"):
        importance(linear, *data(), {"strong": 6}, generator(0, "t", "x"))
