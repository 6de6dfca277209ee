"""The augmented copies of one photograph: rotation, shift, shear, zoom and flips as one affine map, then its wear.

Wear is what other cameras and archives do to a photograph: fewer pixels, and compression.
"""

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dermaspark.randomness import generator

Fill = Literal["nearest", "reflect", "constant", "wrap"]


@dataclass(frozen=True)
class Ranges:
    """How far a copy may be from its photograph; each amount is drawn uniformly from its range.

    `fill` says what lies outside the photograph, by the names of Keras' ImageDataGenerator: nearest
    aaaa|abcd|dddd, reflect dcba|abcd|dcba, wrap abcd|abcd|abcd, constant 0000|abcd|0000 (black).
    """

    rotation: float = 0.0  # degrees, either way
    shift: float = 0.0  # fraction of the side, either way, on each axis
    shear: float = 0.0  # degrees, either way
    zoom: float = 0.0  # the scale is in [1 - zoom, 1 + zoom], the same on both axes
    horizontal_flip: bool = False  # half of the copies are mirrored left to right
    vertical_flip: bool = False
    fill: Fill = "nearest"
    resolution: float = 0.0  # seen at a share of its pixels a side, in [1 - resolution, 1]
    quality: int = 100  # compressed as a JPEG of a quality in [quality, 100]; 100: not at all


def augment(image: NDArray[np.uint8], ranges: Ranges, seed: int, photograph_id: str, copy: int) -> NDArray[np.uint8]:
    """Copy number `copy` of `image`, uint8 (height, width, 3); copy 0 is the image itself."""
    return augment_all(image, ranges, seed, photograph_id, [copy])[0]


def augment_all(
    image: NDArray[np.uint8], ranges: Ranges, seed: int, photograph_id: str, copies: Iterable[int]
) -> list[NDArray[np.uint8]]:
    """Several read-only copies of `image`, padded only once for all of them, as each would come out alone.

    Each depends on the image, the ranges, the seed, the id and its own number alone, bit for bit.
    """
    height, width, _ = image.shape
    numbers = list(copies)
    maps = [affine(ranges, generator(seed, "augment", f"{photograph_id}#{n}"), height, width) for n in numbers if n]
    warped = iter(warp(image, maps, ranges.fill))
    if ranges.resolution == 0 and ranges.quality == 100:  # a generator costs a tenth of a copy
        return [next(warped) if n else image for n in numbers]
    worn = {n: generator(seed, "wear", f"{photograph_id}#{n}") for n in numbers if n}
    return [wear(next(warped), ranges, worn[n]) if n else image for n in numbers]


def affine(ranges: Ranges, rng: np.random.Generator, height: int, width: int) -> NDArray[np.float64]:
    """A map drawn from `ranges`, float64 (2, 3): from (x, y, 1) in the copy to (x, y) in the photograph.

    In pixels from the top left corner, x to the right: the centre of the first pixel is (0.5, 0.5). Seen from
    the photograph, in this order: flip, zoom, shear along x, rotation (clockwise if positive), all about the
    centre, then shift. A square of pixels stays a square under rotation and zoom, whatever the image's sides.
    """
    # All seven are drawn whatever the ranges, so that changing one range leaves the others' draws alone.
    turn, right, down, slant, scale, mirror, upend = rng.uniform(-1, 1, 7).tolist()
    angle = math.radians(turn * ranges.rotation)
    cos, sin, tan = math.cos(angle), math.sin(angle), math.tan(math.radians(slant * ranges.shear))
    zoom_x = zoom_y = 1 + scale * ranges.zoom
    if ranges.horizontal_flip and mirror < 0:
        zoom_x = -zoom_x
    if ranges.vertical_flip and upend < 0:
        zoom_y = -zoom_y
    # The inverse of rotation x shear x zoom, written out: LAPACK's last bit differs between machines.
    a, b = (cos + tan * sin) / zoom_x, (sin - tan * cos) / zoom_x
    d, e = -sin / zoom_y, cos / zoom_y
    centre_x, centre_y = width / 2, height / 2
    x, y = centre_x + right * ranges.shift * width, centre_y + down * ranges.shift * height
    return np.array([[a, b, centre_x - (a * x + b * y)], [d, e, centre_y - (d * x + e * y)]])


def warp(image: NDArray[np.uint8], maps: Sequence[NDArray[np.float64]], fill: Fill) -> list[NDArray[np.uint8]]:
    """`image`, uint8 (height, width, 3), seen through each map as `affine` gives it, filled as `Ranges` says.

    One bilinear resampling each, as Keras does it (order=1).
    """
    height, width, _ = image.shape
    padded, left, top = _padded(image, maps, fill)
    seen = []
    for (a, b, c), (d, e, f) in (matrix.tolist() for matrix in maps):
        coefficients = (a, b, c + left, d, e, f + top)
        copy = padded.transform((width, height), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
        # Half of what np.array takes.
        seen.append(np.frombuffer(copy.tobytes(), np.uint8).reshape(image.shape))
    return seen


def wear(image: NDArray[np.uint8], ranges: Ranges, rng: np.random.Generator) -> NDArray[np.uint8]:
    """`image`, uint8 (height, width, 3), after fewer pixels and compression, as far as `ranges` goes."""
    fewer, quality = rng.uniform(1 - ranges.resolution, 1), round(rng.uniform(ranges.quality, 100))
    picture = Image.fromarray(image)
    if ranges.resolution:
        size = [max(1, round(fewer * side)) for side in picture.size]
        picture = picture.resize((size[0], size[1]), Image.Resampling.BOX).resize(
            picture.size, Image.Resampling.BICUBIC
        )
    if ranges.quality < 100:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality)
        picture = Image.open(file, formats=["JPEG"])
    return np.array(picture)


def _padded(image: NDArray[np.uint8], maps: Sequence[NDArray[np.float64]], fill: Fill) -> tuple[Image.Image, int, int]:
    """The photograph with as much around it as any of the maps reaches, and what was added on the left and on top."""
    height, width, _ = image.shape
    if fill == "constant" or not maps:  # Pillow's own: black
        return Image.fromarray(image), 0, 0
    columns, rows = _reached(maps, height, width)
    # Four bytes a pixel, as Pillow keeps RGB itself: taken as integers, which is three times as fast.
    pixels = np.frombuffer(Image.fromarray(image).tobytes("raw", "RGBX"), np.uint32).reshape(height, width)
    taken = _take(_take(pixels, rows, 0, fill), columns, 1, fill)
    padded = Image.frombytes("RGB", (len(columns), len(rows)), taken.tobytes(), "raw", "RGBX")
    return padded, -columns.start, -rows.start


def _reached(maps: Sequence[NDArray[np.float64]], height: int, width: int) -> tuple[range, range]:
    """The columns and the rows of the photograph and of all around it that the copies' parallelograms need."""
    stacked = np.stack(maps)
    origin, along = stacked[:, :, 2], stacked[:, :, :2] * (width, height)
    low = (origin + np.minimum(along, 0).sum(axis=2)).min(axis=0)
    high = (origin + np.maximum(along, 0).sum(axis=2)).max(axis=0)
    # Bilinear weighs the pixels on either side of a point: one more on each side, and one for rounding.
    starts, stops = np.floor(low).astype(int) - 2, np.ceil(high).astype(int) + 2
    return range(min(0, starts[0]), max(width, stops[0])), range(min(0, starts[1]), max(height, stops[1]))


def _take(pixels: NDArray[np.uint32], reached: range, axis: int, fill: Fill) -> NDArray[np.uint32]:
    index = np.arange(reached.start, reached.stop)
    if fill == "nearest":
        return pixels.take(index, axis, mode="clip")
    if fill == "wrap":
        return pixels.take(index, axis, mode="wrap")
    side = pixels.shape[axis]
    folded = index % (2 * side)
    mirrored: NDArray[np.uint32] = pixels.take(np.minimum(folded, 2 * side - 1 - folded), axis)
    return mirrored
