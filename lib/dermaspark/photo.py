"""Reading one photograph: the bytes of its file become RGB pixels of the asked size, or what its header says."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from dermaspark.photo_file import open_image, orientation, unreadable_if_it_fails

_TURN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPS_SIDES = frozenset({5, 6, 7, 8})
_KEPT_FOR_RESIZING = frozenset({"L", "RGB", "RGBA", "CMYK", "YCbCr", "LAB"})

# It costs what BILINEAR does, is nearer to LANCZOS, and does not ring beside hairs.
FILTER = Image.Resampling.HAMMING
LEAST_SIDE = 32  # pixels that a photograph is decoded to: what is smaller does not tell copies from others

# ITU-T T.81 (1992), table K.1: the luminance table that libjpeg scales by its quality setting.
_LUMINANCE_K1 = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99],
    ]
).ravel()


@dataclass(frozen=True)
class Header:
    """What a file says of itself, before any pixel is decoded."""

    format: str  # JPEG, PNG, BMP, TIFF or WEBP
    mode: str  # Pillow's name: L, RGB, CMYK, ...
    width: int  # pixels, EXIF orientation applied
    height: int
    bytes: int  # of the whole file
    jpeg_quality: int | None  # libjpeg's scale, 1 to 100, the nearest; None for other formats


@dataclass(frozen=True)
class Sketched:
    """A photograph's pixels, and what is known of the whole of it without decoding it in full."""

    pixels: NDArray[np.uint8]  # (height, width, 3), as `decode` gives them
    sketch: NDArray[np.uint8]  # (side, side), grey: means of what was decoded for the pixels
    width: int  # of the photograph, EXIF orientation applied
    height: int
    coding: str  # format, mode and EXIF orientation


def decode(data: bytes, height: int, width: int, max_pixels: int) -> NDArray[np.uint8]:
    """Pixels of the photograph in `data`, resized (sides independently) to uint8 (height, width, 3), RGB.

    The first frame, EXIF orientation applied; 16 bit scaled to 8, floats from their own least to greatest,
    transparency on white. Colour profiles are not applied. Raises Unreadable for a file that is damaged, cut
    short, of another format, or of more than `max_pixels` pixels (by its header, before it is decoded; for
    TIFF and WebP Pillow's limit of 179 million holds too). Damage that libjpeg decodes past goes unnoticed.
    """
    with unreadable_if_it_fails():
        image, box, turn = _scaled(open_image(data, max_pixels), height, width)
        return np.array(_rgb(_resized(image, height, width, FILTER, box, turn)))


def decode_and_sketch(data: bytes, height: int, width: int, side: int, max_pixels: int) -> Sketched:
    """What `decode` gives and, from the same decoding, all of the photograph in `side` x `side` grey pixels.

    Photographs of one coding with the same pixels have the same sketch; two JPEGs with the same coefficients do, for a
    JPEG is decoded at a fraction of its size.
    """
    with unreadable_if_it_fails():
        opened = open_image(data, max_pixels)
        size, form, mode = opened.size, opened.format, opened.mode
        image, box, turn = _scaled(opened, height, width)
        full_width, full_height = size[::-1] if turn in _SWAPS_SIDES else size
        pixels = _rgb(_resized(image, height, width, FILTER, box, turn))
        small = _rgb(_resized(image, side, side, Image.Resampling.BOX, box, turn)).convert("L")
        return Sketched(np.array(pixels), np.array(small), full_width, full_height, f"{form} {mode} {turn}")


Box = tuple[float, float, float, float]


def _scaled(image: ImageFile.ImageFile, height: int, width: int) -> tuple[Image.Image, Box | None, int]:
    """The image decoded, at a fraction of its size where that is enough; its part to be resized; its orientation."""
    # libjpeg decodes at 1/2, 1/4 or 1/8 of the size, never below this square, into which the target and a sketch fit
    # whichever way the photograph is turned. From 600 x 450 to 64 x 64 it is twice as fast as decoding in
    # full with the same filter (3.4 times with LANCZOS), and 52 dB from it: 0.6 levels of 255.
    least = max(height, width, LEAST_SIDE)
    scaled = image.draft(None, (least, least))
    box = scaled[1] if scaled else None  # without the part of the last scaled pixels that lies outside
    image.load()
    turn = orientation(image)
    return _resizable(image), box, turn


def _resized(
    image: Image.Image, height: int, width: int, how: Image.Resampling, box: Box | None, turn: int
) -> Image.Image:
    small = image.resize((height, width) if turn in _SWAPS_SIDES else (width, height), how, box)
    return small.transpose(_TURN[turn]) if turn in _TURN else small


def inspect(data: bytes, max_pixels: int) -> Header:
    """What the header of the photograph in `data` says. Damaged pixels go unnoticed.

    Raises Unreadable, also for more than `max_pixels` pixels: some decoders take memory for all of them as soon
    as they see the header.
    """
    with unreadable_if_it_fails():
        image = open_image(data, max_pixels)
        width, height = image.size
        # Pillow has already swapped the sides of a TIFF.
        if not isinstance(image, TiffImageFile) and orientation(image) in _SWAPS_SIDES:
            width, height = height, width
        quality = _jpeg_quality(image) if isinstance(image, JpegImageFile) else None
        return Header(str(image.format), image.mode, width, height, len(data), quality)


def _resizable(image: Image.Image) -> Image.Image:
    """The same photograph in a mode whose values may be averaged."""
    if image.mode.startswith("I;16"):
        return Image.fromarray(_eight_bits(np.asarray(image)))
    if image.mode in ("I", "F"):  # no range is agreed on for these
        return Image.fromarray(_stretched(np.asarray(image)))
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image if image.mode in _KEPT_FOR_RESIZING else image.convert("RGB")


def _eight_bits(values: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """round(values / 257), in integers: 65535 becomes 255."""
    return ((values.astype(np.uint32) * 255 + 32895) >> 16).astype(np.uint8)


def _stretched(values: NDArray[np.float32] | NDArray[np.int32]) -> NDArray[np.uint8]:
    """From the least finite value (0) to the greatest (255); NaN is 0, and all is 0 if there is one value."""
    with np.errstate(invalid="ignore"):  # signalling NaNs complain when cast
        wide = values.astype(np.float64)
    finite = wide[np.isfinite(wide)]
    if finite.size == 0 or finite.min() == finite.max():
        return np.zeros(values.shape, np.uint8)
    unit = (wide - finite.min()) / (finite.max() - finite.min())
    scaled: NDArray[np.float64] = np.rint(255 * np.nan_to_num(np.clip(unit, 0, 1)))
    return scaled.astype(np.uint8)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGBA":  # on white, as browsers and paper show it to whoever gave the label
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _jpeg_quality(image: JpegImageFile) -> int | None:
    """The quality at which libjpeg's luminance table is nearest to the file's first table, in L1 distance."""
    if 0 not in image.quantization:
        return None
    quality = np.arange(1, 101)[:, None]
    percent = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    tables = np.clip((percent * _LUMINANCE_K1 + 50) // 100, 1, 255)  # as jpeg_set_quality does
    return int(np.abs(tables - image.quantization[0]).sum(axis=1).argmin()) + 1
