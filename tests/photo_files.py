"""One small picture in every format that is read, for the tests of what reads it, and files that claim to be giants."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_PIXELS = 10**6


def scene(width: int = 60, height: int = 40) -> Image.Image:
    """A smooth picture that differs in its four corners, so that every way of turning it shows."""
    corners = np.array([[[200, 60, 40], [60, 180, 80]], [[40, 80, 200], [210, 200, 60]]], np.uint8)
    return Image.fromarray(corners).resize((width, height), Image.Resampling.BILINEAR)


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:  # noqa: A002 - Pillow's word
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def pixels(image: Image.Image) -> NDArray[np.int64]:
    return np.asarray(image).astype(np.int64)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def giant_png(width: int, height: int) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


FORMATS = {
    "jpg": encoded(scene(), "JPEG", quality=95, subsampling=0),
    "progressive": encoded(scene(), "JPEG", quality=95, subsampling=0, progressive=True),
    "png": encoded(scene(), "PNG"),
    "bmp": encoded(scene(), "BMP"),
    "tif": encoded(scene(), "TIFF"),
    "tif deflate": encoded(scene(), "TIFF", compression="tiff_adobe_deflate"),
    "webp": encoded(scene(), "WEBP", lossless=True),
}
PILLOWS_NAME = {name: str(Image.open(io.BytesIO(data)).format) for name, data in FORMATS.items()}
