"""Covariance: how colours and their local changes go together in a photograph and in its lesion.

Region covariance (Tuzel, Porikli and Meer 2006) of 30 planes that no quarter turn changes, as the logarithm
of the matrix (Arsigny et al. 2006): second moments of texture that histograms do not hold.
"""

import numpy as np
from numpy.typing import NDArray

from dermaspark.features.planes import ScaleSpace, gradient

SCALES = (1.0, 2.0, 4.0, 8.0)  # pixels, sigma
NOISE = 1e-3  # added to each plane's variance, in units of its square
WIDTH = 1488  # numbers that `describe` gives: three upper triangles of 31 x 31
LEAST = 1e-4  # of an eigenvalue, before its logarithm
STRETCH = 2048  # pixels that are added up at once: as many as a core keeps at hand
# About the deviations over dermatoscopic photographs, which put the planes on one scale (L, a and b each)
UNITS = np.array(
    [
        *(13.5, 11.0, 10.0, 12.0, 10.5, 9.5),  # colour at the finest and the coarsest scale
        *(0.40, 0.27, 0.33, 0.37, 0.23, 0.28, 0.33, 0.19, 0.22, 0.27, 0.14, 0.16),  # log gradient, by scale
        *(1.2, 0.37, 0.43, 0.83, 0.37, 0.48, 1.2, 0.61, 0.83, 2.0, 0.91, 1.2),  # Gaussians' differences
    ],
    np.float32,
)


def describe(colours: ScaleSpace, lesion: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Log covariances of photograph, lesion and the rest, float32 (WIDTH,).

    colours: L, a and b; lesion: (SIDE, SIDE).
    """
    planes = _planes(colours)
    inside, outside = (_moments(planes, np.flatnonzero(region)) for region in (lesion, ~lesion))
    rest = outside if lesion.mean() < 0.99 else inside
    return np.concatenate([_logarithm(sums) for sums in (inside + outside, inside, rest)])


def _planes(colours: ScaleSpace) -> NDArray[np.float32]:
    """What is measured at each pixel, float32 (30, pixels)."""
    levels = colours.stack(SCALES)
    slopes = gradient(levels[1:])
    np.log(np.add(slopes, 1, out=slopes), out=slopes)  # log1p would say no more here, and is six times slower
    bands = levels[:-1] - levels[1:]
    return np.concatenate([p.reshape(-1, levels[0, 0].size) for p in (levels[[1, -1]], slopes, bands)])


def _moments(planes: NDArray[np.float32], pixels: NDArray[np.intp]) -> NDArray[np.float64]:
    """Sums over some pixels of the products of (planes in UNITS, 1), float32 (30, n) to float64 (31, 31).

    In double precision: the logarithm blows up what rounding does to the least variances.
    """
    extended = np.ones((len(planes) + 1, STRETCH))
    sums = np.zeros((len(planes) + 1, len(planes) + 1))
    for start in range(0, len(pixels), STRETCH):
        stretch = pixels[start : start + STRETCH]
        values = extended[:, : len(stretch)]
        values[:-1] = planes.take(stretch, axis=1)
        sums += values @ values.T
    units = np.append(UNITS, 1.0)
    return np.asarray(sums / np.outer(units, units))


def _logarithm(sums: NDArray[np.float64]) -> NDArray[np.float32]:
    """Upper triangle of the logarithm of second moments, which hold the means too, from their sums.

    float64 (31, 31), the last entry the number of pixels, to float32 (496,); off the diagonal times root two, so that
    distances are the matrix's.
    """
    variances, axes = np.linalg.eigh(sums / sums[-1, -1] + NOISE * np.eye(len(sums)))
    logarithm = (axes * np.log(np.maximum(variances, LEAST))) @ axes.T
    weights = np.where(np.eye(len(sums)) > 0, 1.0, np.sqrt(2.0))
    return np.asarray((logarithm * weights)[np.triu_indices(len(sums))], np.float32)
