"""The parts of the features against values known from elsewhere."""

import numpy as np
import pytest
from dermaspark.features import blocks, lesion, patches, planes, texture
from dermaspark.randomness import generator
from drawn import photographs
from scipy import ndimage

SIDE = planes.SIDE


def ellipse(along: float, across: float) -> np.ndarray:
    rows, columns = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    return np.hypot(columns / along, rows / across) <= 1


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((255, 255, 255), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
    ],
)
def test_lab_agrees_with_published_values(rgb, lab):
    image = np.full((2, 2, 3), rgb, np.uint8)
    np.testing.assert_allclose(planes.lab(image)[:, 0, 0], lab, atol=0.05)


@pytest.mark.parametrize("sigma", [1.0, 4.0, 10.0])
def test_smoothing_is_a_gaussian_with_reflected_borders(sigma):
    noise = generator(0, "test", "noise").normal(size=(SIDE, SIDE)).astype(np.float32)
    expected = ndimage.gaussian_filter(noise, sigma, mode="reflect", truncate=8)
    np.testing.assert_allclose(planes.smooth(noise, sigma), expected, atol=1e-4)


def test_the_gradient_is_the_slope_whichever_way_it_goes_and_half_of_it_at_the_border():
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    slopes = planes.gradient(np.stack([3 * rows, 4 * columns, 3 * rows + 4 * columns]))
    np.testing.assert_allclose(slopes[:, 1:-1, 1:-1], np.broadcast_to([[[3]], [[4]], [[5]]], (3, SIDE - 2, SIDE - 2)))
    np.testing.assert_allclose(slopes[0, [0, -1]], 1.5)
    np.testing.assert_allclose(slopes[1][:, [0, -1]], 2)


def test_the_lesion_is_found_where_it_was_drawn():
    drawn = ellipse(40, 25)
    found = lesion.find(np.where(drawn, 40, 80).astype(np.float32))
    assert (found & drawn).sum() / (found | drawn).sum() > 0.9


def test_a_blank_photograph_gets_the_central_disc_for_a_lesion():
    np.testing.assert_array_equal(lesion.find(np.full((SIDE, SIDE), 50, np.float32)), lesion.CENTRE)


def test_the_outline_tells_long_from_round_and_lopsided_from_even():
    colours = np.zeros((3, SIDE, SIDE), np.float32)
    names = {"minor / major": 4, "asymmetry, least": 9}
    round_, long = (lesion.outline(ellipse(a, 20), colours) for a in (20, 40))
    bitten = ellipse(40, 20)
    bitten[: SIDE // 2, : SIDE // 2] = False
    lopsided = lesion.outline(bitten, colours)
    assert round_[names["minor / major"]] == pytest.approx(1, abs=0.03)
    assert long[names["minor / major"]] == pytest.approx(0.5, abs=0.03)
    assert lopsided[names["asymmetry, least"]] > 0.1 > long[names["asymmetry, least"]]


def test_a_flat_plane_has_one_binary_pattern_and_stripes_have_another():
    everywhere = np.ones((SIDE, SIDE), bool)
    flat = texture.binary_patterns(planes.ScaleSpace(np.zeros((1, SIDE, SIDE), np.float32)), [everywhere]).reshape(
        3, 10
    )
    np.testing.assert_allclose(flat[:, 0], 1)
    ramp = np.broadcast_to(np.arange(SIDE, dtype=np.float32), (1, SIDE, SIDE))
    edge = texture.binary_patterns(planes.ScaleSpace(ramp), [everywhere]).reshape(3, 10)
    assert (edge[:, 3] > 0.9).all()  # three of eight neighbours are brighter


def test_band_energy_peaks_at_the_scale_of_the_texture():
    rows = np.arange(SIDE)[:, None] * np.ones(SIDE)
    everywhere = np.ones((SIDE, SIDE), bool)

    def strongest(period: float) -> int:
        wave = np.sin(2 * np.pi * rows / period)[None].astype(np.float32)
        return int(np.argmax(texture.band_energies(planes.ScaleSpace(wave), [everywhere])[: len(texture.SCALES)]))

    assert strongest(4) < strongest(12) < strongest(40)


def test_whitened_patches_have_no_correlation_left():
    images = [patches.reduced(image, 64) for image in photographs(12)]
    fitted = patches.fit(images, 4, 3000, generator(0, "test", "patches"))
    again = patches.fit(images, 3000, 3000, generator(0, "test", "patches"))
    np.testing.assert_array_equal(fitted.mean, again.mean)
    # the chosen patches are scaled to length one: whitened ones point in all directions alike
    spread = np.linalg.eigvalsh(again.patches @ again.patches.T / again.patches.shape[1])
    assert spread[-1] < 30 * np.median(spread)
    np.testing.assert_allclose(np.linalg.norm(fitted.patches, axis=0), 1, rtol=1e-5)
    assert fitted.patches.shape == (108, 32)


def test_a_photograph_answers_most_to_its_own_patch():
    image = patches.reduced(photographs(1)[0], 64)
    found = patches.fit([image], 1, 300, generator(0, "test", "own"))
    own = patches.describe(image, found, 1)
    mirrored = patches.describe(1 - image, found, 1)
    assert own[0] > mirrored[0]


def test_a_block_has_mean_zero_and_mean_square_one_over_the_rows_it_was_fitted_on():
    random = generator(0, "test", "block")
    rows = (random.normal(size=(500, 20)) @ random.normal(size=(20, 60)) + 7).astype(np.float32)
    block = blocks.fit(rows, 10)
    features = block.apply(rows)
    np.testing.assert_allclose(features.mean(0), 0, atol=1e-4)
    assert np.square(features).mean() == pytest.approx(1, rel=1e-3)
    variances = features.var(0)
    assert (np.diff(variances) <= 1e-3).all()  # the strongest axes first, half-whitened: not all alike
    np.testing.assert_allclose(np.corrcoef(features.T) - np.eye(10), 0, atol=1e-3)


def test_a_block_keeps_only_axes_that_its_rows_span():
    random = generator(0, "test", "rank")
    rows = (random.normal(size=(200, 3)) @ random.normal(size=(3, 30))).astype(np.float32)
    rows /= np.abs(rows).max() * 10  # nothing is clipped
    assert len(blocks.fit(np.concatenate([rows, -rows]), 20).variances) <= 20
    assert len(blocks.fit(rows[:5], 20).variances) <= 4


def test_one_wild_number_moves_a_block_no_further_than_the_clip():
    rows = generator(0, "test", "clip").normal(size=(300, 8)).astype(np.float32)
    block = blocks.fit(rows, 8)
    wild, wilder = rows[:1].copy(), rows[:1].copy()
    wild[0, 3], wilder[0, 3] = 1e3, 1e9
    np.testing.assert_array_equal(block.apply(wild), block.apply(wilder))
