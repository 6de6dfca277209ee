"""A photograph's fingerprint: what tells it from others, and what a network could cheat with."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dermaspark.photo import decode, inspect

THUMBNAIL_SIDE = 32  # pixels
Binary: TypeAlias = bytes  # for Fingerprint, which has a field of that name
# ITU-R BT.601, as Pillow's conversion to grey.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Fingerprint:
    """Facts of one photograph, under 1.5 kB."""

    width: int  # pixels, EXIF orientation applied
    height: int
    mode: str  # Pillow's name, as in the file
    format: str
    bytes: int
    jpeg_quality: int | None  # 1 to 100; None for other formats
    red: float  # mean, 0 to 255
    green: float
    blue: float
    byte_hash: str  # of the file
    pixel_hash: str  # of the size and the decoded RGB pixels, EXIF orientation applied
    thumbnail: Binary  # uint8 (THUMBNAIL_SIDE, THUMBNAIL_SIDE), grey


def fingerprint(data: bytes, max_pixels: int) -> Fingerprint:
    """The fingerprint of the photograph in the file `data`.

    The pixels are decoded in full: two files have one pixel hash only where every pixel is the same.

    Raises:
        photo.Unreadable: it can't be read, or has more than `max_pixels` pixels.
    """
    header = inspect(data, max_pixels)
    # At its own size `decode` neither scales nor resamples.
    pixels = decode(data, header.height, header.width, max_pixels)
    small = shrink(pixels)
    red, green, blue = (float(mean) for mean in small.mean(axis=(0, 1)))
    return Fingerprint(
        width=header.width,
        height=header.height,
        mode=header.mode,
        format=header.format,
        bytes=header.bytes,
        jpeg_quality=header.jpeg_quality,
        red=red,
        green=green,
        blue=blue,
        byte_hash=hash_bytes(data),
        pixel_hash=hash_pixels(pixels),
        thumbnail=np.rint(small @ LUMA).astype(np.uint8).tobytes(),
    )


def hash_bytes(data: bytes) -> str:
    """BLAKE2b-128 of a file's content."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def hash_pixels(pixels: NDArray[np.uint8]) -> str:
    """BLAKE2b-128 of the shape and the values of `pixels`, uint8 (height, width, 3)."""
    height, width, _ = pixels.shape
    digest = hashlib.blake2b(f"{width}x{height}:".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def shrink(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Each pixel the mean of its share of `pixels`: uint8 (THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3).

    The sides are scaled independently, so that a copy squeezed into another shape has the same thumbnail.
    """
    size = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))


def thumbnails_of(values: Iterable[bytes]) -> NDArray[np.uint8]:
    """uint8 (n, THUMBNAIL_SIDE, THUMBNAIL_SIDE) of the values of a binary column."""
    return np.frombuffer(b"".join(values), np.uint8).reshape(-1, THUMBNAIL_SIDE, THUMBNAIL_SIDE)
