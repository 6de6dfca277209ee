"""Texture of a photograph's colour planes, over all directions: binary patterns and energy by scale."""

import numpy as np
from numpy.typing import NDArray

from dermaspark.features.planes import smooth

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


def binary_patterns(planes: Planes, regions: list[Mask]) -> NDArray[np.float64]:
    """Square roots of the shares of the ten patterns, for each plane, radius and region."""
    shares = []
    for radius in RADII:
        for plane in planes if radius == 1 else smooth(planes, radius / 2):
            pattern = _PATTERN[_codes(plane, radius)]
            shares += [np.bincount(pattern[region], minlength=10) / region.sum() for region in regions]
    return np.asarray(np.sqrt(np.concatenate(shares)), np.float64)


def band_energies(planes: Planes, regions: list[Mask]) -> NDArray[np.float32]:
    """Differences of Gaussians: log energy and size, skewness, kurtosis, by scale, plane and region."""
    levels = np.stack([planes, *(smooth(planes, scale) for scale in SCALES)])
    bands = (levels[:-1] - levels[1:]).reshape(len(SCALES) * len(planes), -1)
    square = bands * bands
    weights = np.stack([region.ravel() / region.sum() for region in regions], axis=1).astype(np.float32)
    second, third, fourth = square @ weights, (square * bands) @ weights, (square * square) @ weights
    energy = np.sqrt(second) + 1e-3
    size = np.log(np.abs(bands) @ weights + 1e-3)
    shape = [np.clip(third / energy**3, -10, 10), np.minimum(fourth / energy**4, 30)]
    return np.concatenate([np.log(energy), size, *shape]).ravel()


def _codes(plane: Planes, radius: int) -> NDArray[np.uint8]:
    """Which of the eight neighbours at a radius are brighter than a pixel, a bit each. uint8 (h, w)."""
    height, width = plane.shape
    padded = np.pad(plane, radius, mode="reflect")
    threshold = plane + np.float32(NOISE)
    code = np.zeros(plane.shape, np.uint8)
    for bit, angle in enumerate(np.arange(8) * np.pi / 4):
        down, across = radius + round(radius * np.sin(angle)), radius + round(radius * np.cos(angle))
        code |= (padded[down : down + height, across : across + width] >= threshold).astype(np.uint8) << bit
    return code
