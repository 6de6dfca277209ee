"""A photograph as float planes on one fixed square grid: colour spaces, and smoothing at any scale."""

from collections.abc import Iterable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 128  # pixels a side of the grid that features are computed on

_offsets = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
RADIUS: NDArray[np.float64] = np.hypot(*_offsets) / (SIDE / 2)  # 1 at the middle of a side

# sRGB (IEC 61966-2-1) to linear light, then to XYZ over the D65 white point
_LINEAR = np.array(
    [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in np.arange(256) / 255], np.float32
)
_XYZ = np.array(
    [
        [0.4124564 / 0.95047, 0.3575761 / 0.95047, 0.1804375 / 0.95047],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339 / 1.08883, 0.1191920 / 1.08883, 0.9503041 / 1.08883],
    ],
    np.float32,
)


def on_grid(image: NDArray[np.uint8], side: int = SIDE) -> NDArray[np.uint8]:
    """A photograph squeezed onto a square. uint8 (height, width, 3) to uint8 (side, side, 3)."""
    if image.shape[:2] == (side, side):
        return image
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS))


def lab(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """CIE L*a*b* of an sRGB photograph. uint8 (h, w, 3) to float32 (3, h, w)."""
    xyz = _XYZ @ np.moveaxis(_LINEAR[image], -1, 0).reshape(3, -1)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    planes = np.stack([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])
    return planes.reshape(3, *image.shape[:2]).astype(np.float32)


def opponents(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """R, G, B, saturation, and hue as a point of the colour wheel (two planes). float32 (6, h, w)."""
    red, green, blue = rgb = np.moveaxis(image, -1, 0).astype(np.float32, order="C") / 255
    most, least = rgb.max(0), rgb.min(0)
    saturation = (most - least) / np.maximum(most, 1e-3)
    wheel = red - (green + blue) / 2, np.sqrt(0.75, dtype=np.float32) * (green - blue)
    return np.stack([*rgb, saturation, *wheel], dtype=np.float32)


def smooth(planes: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Gaussian smoothing with reflected borders. float32 (..., SIDE, SIDE), sigma in pixels.

    As two products with a dense matrix: one cost for every sigma, and faster than a filter from sigma 2 on.
    """
    kernel = _kernel(sigma)
    return np.asarray(kernel @ planes @ kernel.T, np.float32)


class ScaleSpace:
    """Planes, float32 (n, SIDE, SIDE), smoothed at any scale, each worked out once: several features look at one."""

    def __init__(self, planes: NDArray[np.float32]) -> None:
        self.planes = planes
        self._smoothed: dict[float, NDArray[np.float32]] = {}

    def at(self, sigma: float) -> NDArray[np.float32]:
        """float32 (n, SIDE, SIDE), sigma in pixels."""
        if sigma not in self._smoothed:
            self._smoothed[sigma] = smooth(self.planes, sigma)
        return self._smoothed[sigma]

    def stack(self, sigmas: Iterable[float]) -> NDArray[np.float32]:
        """As they are, then at each of the scales. float32 (1 + sigmas, n, SIDE, SIDE)."""
        return np.stack([self.planes, *map(self.at, sigmas)])


def gradient(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Length of the gradient by central differences, a unit a pixel. float32 (..., h, w), shape kept."""
    slopes = [np.empty_like(planes), np.empty_like(planes)]
    for here, there in ((slopes[0], planes), (slopes[1].swapaxes(-1, -2), planes.swapaxes(-1, -2))):
        np.subtract(there[..., 2:, :], there[..., :-2, :], out=here[..., 1:-1, :])
        np.subtract(there[..., 1, :], there[..., 0, :], out=here[..., 0, :])  # beyond the border as at it
        np.subtract(there[..., -1, :], there[..., -2, :], out=here[..., -1, :])
        np.multiply(here, here, out=here)
    slopes[0] += slopes[1]
    return np.asarray(np.multiply(np.sqrt(slopes[0]), np.float32(0.5)), np.float32)


@cache
def _kernel(sigma: float) -> NDArray[np.float32]:
    here, there = np.arange(SIDE)[:, None], np.arange(SIDE)[None]
    images = [2 * k * SIDE + place for k in (-1, 0, 1) for place in (there, -1 - there)]
    weights = np.sum([np.exp(-0.5 * ((here - image) / sigma) ** 2) for image in images], axis=0)
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)
