"""Colour and shape: colours by region, the lesion's outline and its texture, as some 2,000 numbers.

No number depends on how the photograph was turned by quarter turns or mirrored: regions are concentric or
follow the lesion, and texture is counted over all directions. So a photograph needs no views of itself.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermaspark.features import lesion as lesions
from dermaspark.features import texture
from dermaspark.features.planes import RADIUS, ScaleSpace, gradient, opponents

RINGS = [np.digitize(RADIUS, [0.35, 0.65, 0.95]) == ring for ring in range(4)]
PERCENTILES = np.array([0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98])
BORDER_PERCENTILES = [10, 50, 90]
HUES = 32
WIDTH = 2052  # numbers that `describe` gives
# Edges of the histograms of L, a and b: over the range of skin and lesions, and of a lesion against its skin
LAB_EDGES = [np.linspace(5, 95, 7)[1:-1], np.linspace(-5, 45, 7)[1:-1], np.linspace(-15, 40, 7)[1:-1]]
CONTRAST_EDGES = [np.array(e) for e in ((-45, -30, -18, -9, -3), (-6, -1, 4, 9, 15), (-16, -9, -3, 2, 7))]

Mask = NDArray[np.bool_]
Planes = NDArray[np.float32]


def describe(image: NDArray[np.uint8], space: ScaleSpace, found: Mask) -> NDArray[np.float32]:
    """Colour and shape of one photograph, float32 (WIDTH,).

    image: uint8 (SIDE, SIDE, 3); space: the same in L, a and b; found: its lesion.
    """
    colours, more = space.planes, opponents(image)
    lesion, skin, band = lesions.regions(found)
    everywhere = np.ones_like(lesion)
    against_skin = colours - np.median(colours[:, skin], axis=1)[:, None, None]
    parts: list[NDArray[Any]] = [
        _colours_by_region(np.concatenate([more, colours]), [everywhere, *RINGS, lesion, skin, band]),
        _histogram(colours, everywhere, LAB_EDGES),
        _histogram(colours, lesion, LAB_EDGES),
        _histogram(against_skin, lesion, CONTRAST_EDGES),
        _hues(more, everywhere),
        _hues(more, lesion),
        lesions.outline(lesion, colours),
        _border(space, lesion, skin, band),
        texture.binary_patterns(space, [lesion, skin]),
        texture.band_energies(space, [everywhere, lesion, skin]),
    ]
    return np.concatenate(parts).astype(np.float32)


def _colours_by_region(planes: Planes, regions: list[Mask]) -> NDArray[np.float32]:
    """Moments and percentiles of every plane in every region, and lesion less skin (regions 5 and 6)."""
    # A quarter of the pixels, each of 2 x 2: the colours of regions need no more.
    halves: Planes = (_reduce_blocks(np.add, planes) * np.float32(0.25)).reshape(len(planes), -1)
    places = [np.flatnonzero(_reduce_blocks(np.logical_or, region)) for region in regions]
    tables = [_moments(halves.take(place, axis=1)) for place in places]
    return np.concatenate([*tables, tables[5] - tables[6]])


def _reduce_blocks(function: np.ufunc, planes: NDArray[Any]) -> NDArray[Any]:
    """A function of two over the blocks of 2 x 2 pixels of planes (..., h, w), as (..., h / 2, w / 2)."""
    rows = function(planes[..., ::2, :], planes[..., 1::2, :])
    return np.asarray(function(rows[..., ::2], rows[..., 1::2]))


def _moments(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Four moments and PERCENTILES of each row. float32 (rows, pixels) to (rows * 11,)."""
    mean = values.mean(1)
    apart = values - mean[:, None]
    deviation = np.sqrt((apart * apart).mean(1)) + 1e-4
    z = apart / deviation[:, None]
    square = z * z
    places = (PERCENTILES * (values.shape[1] - 1)).round().astype(int)
    kurtosis = np.minimum((square * square).mean(1), 30)
    ranked = np.sort(values, axis=1)[:, places]
    return np.concatenate([mean, deviation, (square * z).mean(1), kurtosis, ranked.ravel()])


def _histogram(planes: Planes, region: Mask, edges: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Square roots (Hellinger) of the shares of 6 x 6 x 6 colours in a region. float64 (216,)."""
    cell = np.zeros(int(region.sum()), np.int64)
    for plane, edge in zip(planes, edges, strict=True):
        cell = cell * 6 + np.searchsorted(edge.astype(np.float32), plane[region], side="right")
    return np.sqrt(np.bincount(cell, minlength=216) / len(cell))


def _hues(planes: Planes, region: Mask) -> NDArray[np.float64]:
    """Square roots of the shares of HUES hues, weighted by saturation; planes as from `opponents`."""
    saturation, x, y = planes[3][region], planes[4][region], planes[5][region]
    cell = np.floor((np.arctan2(y, x) + np.pi) / (2 * np.pi) * HUES).astype(int) % HUES
    return np.sqrt(np.bincount(cell, weights=saturation, minlength=HUES) / len(saturation))


def _border(space: ScaleSpace, lesion: Mask, skin: Mask, band: Mask) -> NDArray[np.float64]:
    """How sharply each of L, a and b changes across the border, and within lesion and skin."""
    slopes = gradient(space.at(1.5))
    across = slopes[:, band]
    figures = [across.mean(1), across.std(1), *np.percentile(across, BORDER_PERCENTILES, axis=1)]
    return np.concatenate([*figures, slopes[:, lesion].mean(1), slopes[:, skin].mean(1)])
