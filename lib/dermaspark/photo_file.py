"""The file of a photograph: opened by its first bytes, its header checked before pixels take memory."""

import contextlib
import io
import logging
import struct
import warnings
from collections.abc import Iterator

from PIL import ExifTags, Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

EXTENSIONS = frozenset({"jpg", "jpeg", "png", "bmp", "tif", "tiff", "webp"})

# The plugin is chosen by the first bytes and called directly, because Image.open checks the number of pixels
# against a limit that is global to the process, and answers a damaged header with "cannot identify".
_PLUGINS: tuple[tuple[bytes, type[ImageFile.ImageFile]], ...] = (
    (b"\xff\xd8\xff", JpegImageFile),
    (b"\x89PNG\r\n\x1a\n", PngImageFile),
    (b"BM", BmpImageFile),
    (b"II*\0", TiffImageFile),
    (b"MM\0*", TiffImageFile),
    (b"II+\0", TiffImageFile),
    (b"MM\0+", TiffImageFile),
)
# (offset, bytes, name) of what people have under the name of a photograph and Pillow is not let near.
_UNSUPPORTED = (
    (0, b"GIF8", "GIF"),
    (0, b"%PDF", "PDF"),
    (0, b"8BPS", "Photoshop"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (4, b"ftypavif", "AVIF"),
    (128, b"DICM", "DICOM"),
)

# Pillow warns about damaged metadata, which changes no pixel here. Filters are global to the process and
# catch_warnings is not thread-safe before Python 3.14, so this is set once, for Pillow's own modules alone.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL)


class Unreadable(Exception):  # noqa: N818 - a state of the photograph, which a job counts
    """A photograph that can't be read; `reason` says why in a few words that are fit for a table."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@contextlib.contextmanager
def unreadable_if_it_fails() -> Iterator[None]:
    """Whatever Pillow raises in the block becomes Unreadable; only a lack of memory stays what it is."""
    try:
        yield
    except (Unreadable, MemoryError):
        raise
    except Exception as error:  # Pillow raises a dozen types on damaged data: no list of them stays complete
        raise Unreadable(_reason(error)) from error


def open_image(data: bytes, max_pixels: int) -> ImageFile.ImageFile:
    """The image with its header read and checked, no pixel decoded.

    Raises what Pillow does, and Unreadable for another format, a file cut short, or more than `max_pixels` pixels.
    """
    plugin = _plugin(data)
    if plugin is WebPImageFile:  # its decoder takes memory for the whole canvas as soon as it is made
        if int.from_bytes(data[4:8], "little") + 8 > len(data):
            raise Unreadable("truncated")
        _check_pixels(*_webp_size(data), max_pixels)
    stream = io.BytesIO(data)
    try:
        image = plugin(stream)
    except (OSError, SyntaxError, ValueError) as error:
        if stream.tell() >= len(data) and plugin is not WebPImageFile:
            raise Unreadable("truncated") from error
        raise
    _check_pixels(*image.size, max_pixels)
    if isinstance(image, JpegImageFile) and not image.tile:  # the data ended before the first scan
        raise Unreadable("truncated")
    if isinstance(image, TiffImageFile):  # memory is taken for a whole tile, however small the image
        tags, base = image.tag_v2, ExifTags.Base
        _check_pixels(tags.get(base.TileWidth, 0), tags.get(base.TileLength, 0), max_pixels)
    return image


def orientation(image: ImageFile.ImageFile) -> int:
    """The EXIF orientation, 1 to 8. Of a loaded TIFF always 1: Pillow turns it while it loads."""
    try:  # not image.getexif(), which for a PNG decodes the pixels first
        return int(Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1))
    except (SyntaxError, ValueError, TypeError, struct.error):
        return 1  # only metadata is damaged: the pixels as they are stored, as viewers show them


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, Image.DecompressionBombError):  # Pillow's own limit, of 179 million pixels
        return "too many pixels"
    if "truncated" in text.lower():
        return "truncated"
    if " " not in text:  # a KeyError's message is the key alone, which says nothing in a table
        text = f"{type(error.__cause__ or error).__name__} {text}"
    return f"damaged: {text[:100]}".strip()


def _plugin(data: bytes) -> type[ImageFile.ImageFile]:
    if not data:
        raise Unreadable("empty file")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WebPImageFile
    for magic, plugin in _PLUGINS:
        if data.startswith(magic):
            return plugin
    for offset, magic, name in _UNSUPPORTED:
        if data.startswith(magic, offset):
            raise Unreadable(f"unsupported format {name}")
    raise Unreadable("not an image")


def _check_pixels(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise Unreadable(f"too many pixels ({width} x {height})")


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height of the canvas (RFC 9649: sections 2.5 to 2.7)."""
    if data[12:16] == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
