"""The options that clean a photograph take out what they name and leave the rest."""

import numpy as np
import pytest
from dermaspark.cleaning import clean, find_hairs, under_white_light, without_hairs
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage


def skin(side: int = 128) -> NDArray[np.uint8]:
    """A brown spot with soft edges on skin."""
    rows, columns = np.mgrid[:side, :side] / side - 0.5
    spot = 1 / (1 + np.exp(30 * (np.hypot(rows, columns) - 0.25)))[..., None]
    noise = ndimage.gaussian_filter(np.random.default_rng(1).normal(0, 12, (side, side, 3)), (1, 1, 0))
    return np.clip((1 - spot) * [215, 165, 140] + spot * [120, 75, 55] + noise, 0, 255).astype(np.uint8)


def with_hairs(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    for x in (10, 50, 90):
        draw.line([(x, 0), (x + 30, 127)], fill=(40, 30, 25), width=2)
    draw.arc([-60, 20, 110, 190], 270, 360, fill=(40, 30, 25), width=1)
    return np.array(picture)


def test_hairs_are_found_and_painted_over_and_the_lesion_stays() -> None:
    plain = skin()
    hairy = with_hairs(plain)
    drawn = (plain != hairy).any(axis=2)
    found = find_hairs(hairy)
    assert found[drawn].mean() > 0.8 and found[~ndimage.binary_dilation(drawn)].mean() < 0.01
    cleaned = without_hairs(hairy).astype(int)
    assert np.abs(cleaned - plain)[drawn].mean() < 0.25 * np.abs(hairy - plain.astype(int))[drawn].mean()
    far = ~ndimage.binary_dilation(drawn, iterations=4)
    np.testing.assert_array_equal(cleaned[far], plain[far])


def test_without_hairs_nothing_is_painted() -> None:
    np.testing.assert_array_equal(without_hairs(skin()), skin())
    for value in (0, 255):
        blank = np.full((40, 60, 3), value, np.uint8)
        np.testing.assert_array_equal(without_hairs(blank), blank)


@pytest.mark.parametrize("light", [(1.0, 0.8, 0.6), (0.7, 1.0, 0.9)])
def test_one_skin_under_two_lights_becomes_one_picture(light) -> None:
    lit = np.rint(skin() * np.array(light)).astype(np.uint8)
    first, second = under_white_light(skin()).astype(int), under_white_light(lit).astype(int)
    unclipped = (first < 255).all(axis=2) & (second < 255).all(axis=2)
    before = np.abs(skin() / skin().mean() - lit / lit.mean())[unclipped].mean()
    after = np.abs(first / first[unclipped].mean() - second / second[unclipped].mean())[unclipped].mean()
    assert after < 0.1 * before
    # Its Minkowski means are then the same in all channels.
    means = np.power(np.power(first / 255.0, 6).mean((0, 1)), 1 / 6)
    assert means.max() - means.min() < 0.03
    np.testing.assert_array_equal(under_white_light(np.zeros((4, 4, 3), np.uint8)), 0)


def test_by_default_a_photograph_stays_as_it_is() -> None:
    hairy = with_hairs(skin())
    np.testing.assert_array_equal(clean(hairy, {"height": 128}), hairy)
    both = clean(hairy, {"hair_removal": True, "colour_constancy": True})
    np.testing.assert_array_equal(both, under_white_light(without_hairs(hairy)))
