"""What may be taken out of a photograph before anything learns from it: the colour of its light, and hairs.

Both are off by default, and are part of the preprocessing that a bundle carries.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

POWER = 6  # of the Minkowski mean: Finlayson and Trezzi, "Shades of Gray and Colour Constancy", 2004
LINE = 11 / 128  # of the side: length of the lines that darkness has to be narrower than, to be a hair
LONG = 16 / 128  # of the side: the least length of a hair
SLENDER = 4.0  # a hair is so many times as long as it is wide, at least
DARKER = 20  # levels that a hair is darker than what is beside it
BESIDE = 2.0  # pixels, sigma: how far from a hair its skin is looked for

Pixels = NDArray[np.uint8]


def clean(image: Pixels, spec: Mapping[str, Any]) -> Pixels:
    """The photograph, uint8 (height, width, 3), as `hair_removal` and `colour_constancy` of a preprocessing say."""
    if spec.get("hair_removal"):
        image = without_hairs(image)
    if spec.get("colour_constancy"):
        image = under_white_light(image)
    return image


def under_white_light(image: Pixels) -> Pixels:
    """Shades of gray: each channel scaled so that its Minkowski mean becomes that of the others."""
    light = np.power(np.power(image / 255.0, POWER).mean((0, 1)), 1 / POWER)
    gain = np.linalg.norm(light) / np.sqrt(3) / np.maximum(light, 1e-3)
    return np.asarray(np.rint(np.clip(image * gain, 0, 255)), np.uint8)


def without_hairs(image: Pixels) -> Pixels:
    """Dark hairs painted over with the colours beside them.

    After DullRazor (Lee et al., "DullRazor: A Software Approach to Hair Removal from Images", 1997): a hair is what a
    grey closing by a line across it fills, where that is long and slender.
    """
    hairs = find_hairs(image)
    if not hairs.any():
        return image
    hidden = ndimage.binary_dilation(hairs, iterations=1)[..., None]
    seen = ndimage.gaussian_filter((~hidden).astype(np.float64), BESIDE, axes=(0, 1))
    colours = ndimage.gaussian_filter(np.where(hidden, 0.0, image), BESIDE, axes=(0, 1)) / np.maximum(seen, 1e-9)
    return np.where(hidden & (seen > 1e-6), np.rint(np.clip(colours, 0, 255)), image).astype(np.uint8)


def find_hairs(image: Pixels) -> NDArray[np.bool_]:
    """Where dark hairs are. uint8 (height, width, 3) to bool (height, width)."""
    grey, side = image.min(axis=2).astype(np.int16), min(image.shape[:2])
    filled = np.max([ndimage.grey_closing(grey, footprint=line) for line in _lines(max(3, round(LINE * side)))], axis=0)
    parts, _ = ndimage.label(filled - grey > DARKER, np.ones((3, 3)))
    areas = np.bincount(parts.ravel())
    # The diagonal of the box around each part: no less than half the length of what is curved, all of what is straight
    boxes = ndimage.find_objects(parts)
    lengths = np.array([0.0, *(np.hypot(*(s.stop - s.start for s in box)) for box in boxes)])
    hair = (lengths >= LONG * side) & (lengths**2 >= SLENDER * areas)
    return np.asarray(hair[parts])


def _lines(length: int) -> list[NDArray[np.bool_]]:
    """Lines of so many pixels: across, down and along both diagonals."""
    straight, diagonal = np.ones((1, length), bool), np.eye(max(3, round(length / np.sqrt(2))), dtype=bool)
    return [straight, straight.T, diagonal, diagonal[:, ::-1]]
