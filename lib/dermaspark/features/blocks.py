"""Blocks: a family of features on one scale: standardised, clipped, on principal axes, half-whitened."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

CLIP = 5.0  # standard deviations
POWER = 0.25  # of an axis' variance that it is divided by: 0 leaves PCA as it is, 0.5 whitens

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Block:
    """What fitting found of the features, which are standardised by it and clipped.

    mean, deviation, centre: float32 (n,), of the features, and what clipped ones are on average;
    axes, variances: float32 (n, components) orthonormal, and (components,), the variance along each.
    """

    mean: Floats
    deviation: Floats
    centre: Floats
    axes: Floats
    variances: Floats

    def apply(self, features: Floats) -> Floats:
        """float32 (photographs, n) to (photographs, components), of mean square 1 over the fitted rows."""
        variances = self.variances.astype(np.float64)
        unit = np.sqrt((variances ** (1 - 2 * POWER)).mean())
        return np.asarray(self._places(features)[1] / variances**POWER / unit, np.float32)

    def distances(self, features: Floats) -> Floats:
        """How far from the fitted rows, along the axes (Mahalanobis) and away from them; 1 is about usual.

        float32 (photographs, n) to (photographs, 2).
        """
        scaled, places = self._places(features)
        along = (places**2 / self.variances).mean(axis=1)
        away = ((scaled**2).sum(axis=1) - (places**2).sum(axis=1)) / max(len(self.mean) - len(self.variances), 1)
        return np.asarray(np.sqrt(np.maximum(np.stack([along, away], axis=1), 0)), np.float32)

    def _places(self, features: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The features, scaled and centred, and where they lie on the axes.

        In double precision, so that a photograph's numbers do not depend on the batch that it comes in.
        """
        scaled = np.clip((features.astype(np.float64) - self.mean) / self.deviation, -CLIP, CLIP) - self.centre
        return scaled, scaled @ self.axes.astype(np.float64)


def fit(features: Floats, components: int) -> Block:
    """At most `components` axes, fewer where the rows span fewer. features: float32 (photographs, n)."""
    mean, deviation = features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64) + 1e-6
    scaled = np.clip((features - mean) / deviation, -CLIP, CLIP)
    centre = scaled.mean(0)
    rows, count = scaled.shape
    kept = min(components, count, max(rows - 1, 1))
    variances, axes = _principal_axes(scaled - centre, kept)
    spanned = variances > 1e-6 * max(variances[-1], 1e-12)
    variances, axes = variances[spanned][::-1], axes[:, spanned][:, ::-1]
    axes = axes * np.where(axes.sum(0) < 0, -1.0, 1.0)  # eigh leaves the sign open
    return Block(*(np.ascontiguousarray(a, np.float32) for a in (mean, deviation, centre, axes, variances)))


def _principal_axes(values: NDArray[np.float64], kept: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The greatest variances, ascending, and their axes, (n, kept), of centred rows (photographs, n).

    By way of the smaller of the two products of the rows with themselves: they have the same spectrum.
    """
    rows, count = values.shape
    if count <= rows:
        variances, axes = eigh(values.T @ values / rows, subset_by_index=[count - kept, count - 1])
        return variances, axes
    variances, scores = eigh(values @ values.T / rows, subset_by_index=[rows - kept, rows - 1])
    axes = values.T @ scores
    return variances, axes / np.maximum(np.linalg.norm(axes, axis=0), 1e-12)
