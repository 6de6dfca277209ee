"""Texture of a photograph's colour planes, over all directions: binary patterns and energy by scale."""

import numpy as np
from numpy.typing import NDArray

from dermaspark.features.planes import ScaleSpace

Mask = NDArray[np.bool_]
Planes = NDArray[np.float32]

RADII = (1, 2, 4)  # pixels, of the circle of eight neighbours
SCALES = (1.0, 1.6, 2.5, 4.0, 6.4, 10.0)  # pixels, sigma of the Gaussians whose differences are taken
NOISE = 0.3  # units of Lab that a neighbour must be above its centre


def _pattern_table() -> NDArray[np.uint8]:
    """The rotation-invariant uniform pattern (0..9) of each code of eight neighbours (Ojala et al. 2002)."""
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    changes = (bits != np.roll(bits, 1, axis=1)).sum(1)
    return np.where(changes <= 2, bits.sum(1), 9).astype(np.uint8)


_PATTERN = _pattern_table()


def binary_patterns(colours: ScaleSpace, regions: list[Mask]) -> NDArray[np.float64]:
    """Square roots of the shares of the ten patterns, for each radius, plane and region."""
    shares, places = [], [np.flatnonzero(region) for region in regions]
    for radius in RADII:
        planes = colours.planes if radius == 1 else colours.at(radius / 2)
        for pattern in _PATTERN[_codes(planes, radius)].reshape(len(planes), -1):
            shares += [np.bincount(pattern[place], minlength=10) / len(place) for place in places]
    return np.asarray(np.sqrt(np.concatenate(shares)), np.float64)


def band_energies(colours: ScaleSpace, regions: list[Mask]) -> NDArray[np.float32]:
    """Differences of Gaussians: log energy and size, skewness, kurtosis, by scale, plane and region."""
    levels = colours.stack(SCALES)
    bands = (levels[:-1] - levels[1:]).reshape(-1, levels[0, 0].size)
    weights = np.stack([region.ravel() / region.sum() for region in regions], axis=1).astype(np.float32)
    means = np.empty((len(bands), 4, len(regions)), np.float32)
    powers = np.empty((4, bands.shape[1]), np.float32)  # of one band at a time, which a core keeps at hand
    size, square, cube, quartic = powers
    for band, of_band in zip(bands, means, strict=True):
        np.abs(band, out=size)
        np.multiply(band, band, out=square)
        np.multiply(square, band, out=cube)
        np.multiply(square, square, out=quartic)
        np.matmul(powers, weights, out=of_band)
    first, second, third, fourth = means.swapaxes(0, 1)
    energy = np.sqrt(second) + 1e-3
    shape = [np.clip(third / energy**3, -10, 10), np.minimum(fourth / energy**4, 30)]
    return np.concatenate([np.log(energy), np.log(first + 1e-3), *shape]).ravel()


def _codes(planes: Planes, radius: int) -> NDArray[np.uint8]:
    """Which of the eight neighbours at a radius are brighter than a pixel, a bit each. uint8 (n, h, w)."""
    _, height, width = planes.shape
    padded = np.pad(planes, [(0, 0), (radius, radius), (radius, radius)], mode="reflect")
    threshold = planes + np.float32(NOISE)
    code = np.zeros(planes.shape, np.uint8)
    for bit, angle in enumerate(np.arange(8) * np.pi / 4):
        down, across = radius + round(radius * np.sin(angle)), radius + round(radius * np.cos(angle))
        code |= (padded[:, down : down + height, across : across + width] >= threshold).astype(np.uint8) << bit
    return code
