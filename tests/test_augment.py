"""The augmented copies of one photograph."""

import subprocess
import sys
from typing import get_args

import numpy as np
from dermaspark.augment import Fill, Ranges, affine, augment, augment_all, warp
from dermaspark.randomness import generator
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

ranges = st.builds(
    Ranges,
    rotation=st.floats(0, 180),
    shift=st.floats(0, 1),
    shear=st.floats(0, 45),
    zoom=st.floats(0, 0.5),
    horizontal_flip=st.booleans(),
    vertical_flip=st.booleans(),
    fill=st.sampled_from(get_args(Fill)),
)
sides = st.integers(3, 40)


def photograph(height: int, width: int) -> NDArray[np.uint8]:
    """Smooth blobs in three colours, uint8 (height, width, 3)."""
    noise = np.random.default_rng(height * 1000 + width).uniform(0, 255, (height, width, 3))
    return ndimage.gaussian_filter(noise, (1, 1, 0)).astype(np.uint8)


@given(ranges, sides, sides)
def test_copy_0_is_the_photograph_itself(ranges: Ranges, height: int, width: int) -> None:
    image = photograph(height, width)
    assert np.array_equal(augment(image, ranges, 1, "a.jpg", 0), image)


@given(st.sampled_from(get_args(Fill)), sides, sides, st.integers(1, 5))
def test_without_any_range_every_copy_is_the_photograph_itself(fill: Fill, height: int, width: int, copy: int) -> None:
    image = photograph(height, width)
    assert np.array_equal(augment(image, Ranges(fill=fill), 1, "a.jpg", copy), image)


@settings(deadline=None)
@given(ranges, sides, sides, st.integers(1, 1000))
def test_a_copy_has_the_shape_of_its_photograph_and_depends_on_its_arguments_alone(
    ranges: Ranges, height: int, width: int, copy: int
) -> None:
    image = photograph(height, width)
    before = image.copy()
    first = augment(image, ranges, 7, "a.jpg", copy)
    augment(image, ranges, 7, "b.jpg", copy + 1)
    assert first.shape == image.shape
    assert first.dtype == np.uint8
    assert np.array_equal(first, augment(image, ranges, 7, "a.jpg", copy))
    assert np.array_equal(image, before)


def test_a_copy_is_the_same_bit_for_bit_in_another_process() -> None:
    program = (
        "import numpy as np; from dermaspark.augment import Ranges, augment;"
        "image = (np.arange(30 * 20 * 3) * 7 % 256).astype(np.uint8).reshape(30, 20, 3);"
        "wide = Ranges(40, 0.2, 10, 0.2, True, True, 'reflect');"
        "print(augment(image, wide, 5, 'a.jpg', 3).tobytes().hex())"
    )
    image = (np.arange(30 * 20 * 3) * 7 % 256).astype(np.uint8).reshape(30, 20, 3)
    here = augment(image, Ranges(40, 0.2, 10, 0.2, True, True, "reflect"), 5, "a.jpg", 3)
    command = [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {program}"]
    there = subprocess.run(command, capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here.tobytes().hex()


def test_copies_photographs_and_seeds_are_drawn_independently() -> None:
    image, wide = photograph(20, 30), Ranges(rotation=90, shift=0.2, zoom=0.3)
    draws = [(seed, name, copy) for seed in (1, 2) for name in ("a", "b") for copy in (1, 2, 12)]
    assert len({augment(image, wide, *draw).tobytes() for draw in draws}) == len(draws)


def test_the_draws_of_a_release_stay_what_they_were() -> None:
    """A change here changes every augmented dataset: it has to be a decision."""
    wide = Ranges(30, 0.1, 10, 0.2, True, True, "nearest")
    matrix = affine(wide, generator(1, "augment", "isic/Train/nevus/a.jpg#1"), 64, 64)
    expected = [
        [0.9170667030985015, -0.284443903987146, 16.292359521032253],
        [0.15184823302162148, 0.9385200730587316, -6.584426632922884],
    ]
    np.testing.assert_allclose(matrix, expected, rtol=0, atol=1e-9)


# Scipy's modes for ours. Its own "wrap" repeats with a period of one pixel less; Keras means abcd|abcd|abcd.
SCIPY_MODES = {"nearest": "nearest", "reflect": "reflect", "wrap": "grid-wrap", "constant": "constant"}


@settings(deadline=None, max_examples=200)
@given(ranges, sides, sides, st.integers(1, 1000))
def test_a_copy_is_what_scipy_makes_of_the_same_map(ranges: Ranges, height: int, width: int, copy: int) -> None:
    image = photograph(height, width)
    (a, b, c), (d, e, f) = affine(ranges, generator(3, "augment", f"a.jpg#{copy}"), height, width)
    # Scipy counts rows before columns, and from the centre of the first pixel.
    matrix = np.array([[e, d], [b, a]])
    offset = np.array([f, c]) + matrix @ (0.5, 0.5) - 0.5
    expected = np.stack(
        [
            ndimage.affine_transform(
                image[..., k].astype(float), matrix, offset, order=1, mode=SCIPY_MODES[ranges.fill]
            )
            for k in range(3)
        ],
        axis=-1,
    )
    difference = np.abs(augment(image, ranges, 3, "a.jpg", copy) - expected)
    if ranges.fill == "constant":  # Pillow goes on to the pixel's edge, scipy stops at its centre
        y, x = np.mgrid[:height, :width] + 0.5
        u, v = a * x + b * y + c, d * x + e * y + f
        rim = (abs(u - width / 2) > width / 2 - 0.51) & (abs(u - width / 2) < width / 2 + 0.01)
        rim |= (abs(v - height / 2) > height / 2 - 0.51) & (abs(v - height / 2) < height / 2 + 0.01)
        difference = difference[~rim]
    assert difference.max(initial=0) <= 1.01


def test_far_outside_each_fill_goes_on_as_keras_names_it() -> None:
    strip = np.repeat(np.array([[10, 20, 30, 40]], np.uint8)[..., None], 3, axis=-1)
    expectations: dict[Fill, list[int]] = {
        "nearest": [40, 40, 40, 40],
        "reflect": [40, 30, 20, 10],
        "wrap": [10, 20, 30, 40],
        "constant": [0, 0, 0, 0],
    }
    for fill, expected in expectations.items():
        one_side_further = np.array([[1.0, 0.0, 4.0], [0.0, 1.0, 0.0]])
        assert warp(strip, [one_side_further], fill)[0][0, :, 0].tolist() == expected, fill


@given(ranges, sides, sides, st.integers(0, 10**6))
def test_a_map_undoes_the_named_moves_in_the_named_order(ranges: Ranges, height: int, width: int, seed: int) -> None:
    """The reference composes homogeneous matrices, one a move, and inverts their product."""
    matrix = affine(ranges, generator(seed, "augment", "a"), height, width)
    turn, right, down, slant, scale, mirror, upend = generator(seed, "augment", "a").uniform(-1, 1, 7)
    angle, shear = np.radians(turn * ranges.rotation), np.radians(slant * ranges.shear)
    left_to_right = -1 if ranges.horizontal_flip and mirror < 0 else 1
    upside_down = -1 if ranges.vertical_flip and upend < 0 else 1
    flip = np.diag([left_to_right, upside_down, 1])
    zoom = np.diag([1 + scale * ranges.zoom, 1 + scale * ranges.zoom, 1])
    slanted = np.array([[1, np.tan(shear), 0], [0, 1, 0], [0, 0, 1]])
    rotated = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    shift = np.array([[1, 0, right * ranges.shift * width], [0, 1, down * ranges.shift * height], [0, 0, 1]])
    centre = np.array([[1, 0, width / 2], [0, 1, height / 2], [0, 0, 1]])
    forward = shift @ centre @ rotated @ slanted @ zoom @ flip @ np.linalg.inv(centre)
    np.testing.assert_allclose(matrix, np.linalg.inv(forward)[:2], atol=1e-9 * max(height, width) * 10)


def test_about_half_of_the_copies_are_mirrored_and_nothing_else_happens_to_them() -> None:
    image = photograph(12, 17)
    copies = [augment(image, Ranges(horizontal_flip=True), 1, "a.jpg", k) for k in range(1, 201)]
    mirrored = [np.array_equal(copy, image[:, ::-1]) for copy in copies]
    kept = [np.array_equal(copy, image) for copy in copies]
    assert 70 <= sum(mirrored) <= 130
    assert sum(mirrored) + sum(kept) == 200


def test_a_range_of_one_kind_leaves_the_draws_of_the_others_alone() -> None:
    drawn = [
        affine(Ranges(rotation=30, shift=shift, vertical_flip=flip), generator(1, "augment", "a#5"), 10, 10)
        for shift, flip in ((0.0, False), (0.5, False), (0.5, True))
    ]
    assert len({tuple(np.abs(matrix[:, :2]).ravel()) for matrix in drawn}) == 1


@given(st.sampled_from(get_args(Fill)), st.integers(0, 2**32), st.sampled_from([(64, 64), (24, 40)]))
@settings(max_examples=20)
def test_copies_made_together_are_those_made_alone(fill, seed, shape):
    image = np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)
    ranges = Ranges(180, 0.3, 30, 0.5, True, True, fill)
    together = augment_all(image, ranges, seed, "a", range(5))
    for copy, made in enumerate(together):
        np.testing.assert_array_equal(made, augment(image, ranges, seed, "a", copy))


def test_wear_takes_away_detail_within_its_range_and_nothing_else() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 48, 3)).astype(np.uint8)
    fewer = [augment(noise, Ranges(resolution=0.75), 3, "a.jpg", copy) for copy in range(1, 9)]
    assert len({one.tobytes() for one in fewer}) == 8
    for one in fewer:
        assert one.std() < noise.std() and abs(one.mean() - noise.mean()) < 2
    smooth = photograph(64, 48)
    near, far = (augment(smooth, Ranges(quality=quality), 3, "a.jpg", 1) for quality in (95, 5))
    assert 0 < np.abs(near - smooth.astype(int)).mean() < np.abs(far - smooth.astype(int)).mean() < 30


def test_wear_leaves_the_other_draws_alone() -> None:
    image = photograph(40, 40)
    plain = augment(image, Ranges(rotation=180, shift=0.1), 3, "a.jpg", 2)
    worn = augment(image, Ranges(rotation=180, shift=0.1, quality=98), 3, "a.jpg", 2)
    assert 0 < np.abs(worn - plain.astype(int)).mean() < 10
