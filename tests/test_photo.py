"""The pixels of one photograph, its sketch and what its header tells."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from dermaspark.photo import decode, decode_and_sketch, inspect
from dermaspark.photo_file import EXTENSIONS
from hypothesis import given, settings
from hypothesis import strategies as st
from photo_files import FORMATS, MAX_PIXELS, PILLOWS_NAME, encoded, giant_png, oriented, pixels, scene
from PIL import Image, ImageCms, ImageOps

# Pytest puts its own warning filters in place of the one that the module sets.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def lab(image: Image.Image) -> Image.Image:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    converted = ImageCms.profileToProfile(image, *profiles, outputMode="LAB")
    assert converted is not None
    return converted


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_read_to_the_same_picture(name: str) -> None:
    read = decode(FORMATS[name], 20, 30, MAX_PIXELS)
    assert read.shape == (20, 30, 3)
    assert read.dtype == np.uint8
    expected = pixels(scene().resize((30, 20), Image.Resampling.HAMMING))
    assert np.abs(read - expected).max() <= 4


def test_the_pixels_may_be_written_to_and_are_contiguous() -> None:
    read = decode(FORMATS["jpg"], 8, 8, MAX_PIXELS)
    assert read.flags.writeable
    assert read.flags.c_contiguous


def in_modes() -> dict[str, tuple[bytes, Image.Image]]:
    """What is stored in every mode, with what it should look like."""
    rgb, grey = scene(), scene().convert("L")
    sixteen = np.asarray(grey).astype(np.uint16) * 257
    half = scene().convert("RGBA")
    half.putalpha(128)
    washed = Image.blend(Image.new("RGB", rgb.size, "white"), rgb, 128 / 255)
    palette = rgb.quantize(64)
    bilevel = grey.point(lambda value: 255 * (value > 120)).convert("1")
    big_endian = Image.frombytes("I;16B", grey.size, sixteen.astype(">u2").tobytes())
    stretched = ImageOps.autocontrast(grey)
    return {
        "L": (encoded(grey, "PNG"), grey),
        "1": (encoded(bilevel, "PNG"), bilevel),
        "P": (encoded(palette, "PNG"), palette),
        "LA": (encoded(Image.merge("LA", (grey, grey.point(lambda _: 255))), "PNG"), grey),
        "RGBA": (encoded(half, "PNG"), washed),
        "RGBA in WebP": (encoded(half, "WEBP", lossless=True, exact=True), washed),
        "CMYK in JPEG": (encoded(rgb.convert("CMYK"), "JPEG", quality=95), rgb),
        "CMYK in TIFF": (encoded(rgb.convert("CMYK"), "TIFF"), rgb),
        "YCbCr": (encoded(rgb.convert("YCbCr"), "TIFF"), rgb),
        "LAB": (encoded(lab(rgb), "TIFF"), rgb),
        "I;16 in PNG": (encoded(Image.fromarray(sixteen), "PNG"), grey),
        "I;16 in TIFF": (encoded(Image.fromarray(sixteen), "TIFF"), grey),
        "I;16B in TIFF": (encoded(big_endian, "TIFF"), grey),
        "I": (encoded(Image.fromarray(pixels(grey).astype(np.int32) * 1000 - 70000), "TIFF"), stretched),
        "F": (encoded(Image.fromarray(np.asarray(grey) / np.float32(255)), "TIFF"), stretched),
    }


@pytest.mark.parametrize("mode", in_modes())
def test_every_mode_comes_out_as_the_rgb_that_it_shows(mode: str) -> None:
    data, shown = in_modes()[mode]
    read = decode(data, shown.height, shown.width, MAX_PIXELS)
    difference = np.abs(read - pixels(shown.convert("RGB")))
    assert difference.max() <= 12  # eight bits of LAB are coarse
    assert difference.mean() <= 1.5


def test_sixteen_bits_are_scaled_to_eight_not_clipped() -> None:
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    read = decode(encoded(Image.fromarray(every), "PNG"), 256, 256, MAX_PIXELS)
    assert np.array_equal(read[..., 0], np.rint(every / 257))


def test_nan_and_infinity_in_a_float_image_spoil_nothing_else() -> None:
    values = np.linspace(-3, 5, 64, dtype=np.float32).reshape(8, 8)
    values[0, :3] = np.nan, np.inf, -np.inf
    read = decode(encoded(Image.fromarray(values), "TIFF"), 8, 8, MAX_PIXELS)[..., 0]
    assert read[0, :3].tolist() == [0, 255, 0]
    assert read[7, 7] == 255
    assert np.all(np.diff(read.ravel()[3:].astype(int)) >= 0)


def test_what_is_transparent_is_white_whatever_colour_hides_beneath() -> None:
    hidden = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    palette = Image.new("P", (20, 20), 1)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    key = Image.new("RGB", (20, 20), (255, 0, 0))
    for data in (
        encoded(hidden, "PNG"),
        encoded(hidden, "WEBP", lossless=True, exact=True),
        encoded(palette, "PNG", transparency=1),
        encoded(palette, "PNG", transparency=bytes([255, 0])),
        encoded(key, "PNG", transparency=(255, 0, 0)),
    ):
        assert (decode(data, 8, 8, MAX_PIXELS) == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied(format_: str, orientation: int) -> None:
    options = {"quality": 95, "subsampling": 0} if format_ == "JPEG" else {}
    data = encoded(scene(), format_, exif=oriented(orientation), **options)
    turned = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    read = decode(data, 16, 24, MAX_PIXELS)
    expected = pixels(turned.convert("RGB").resize((24, 16), Image.Resampling.HAMMING))
    assert np.abs(read - expected).max() <= 5
    header = inspect(data, MAX_PIXELS)
    assert (header.width, header.height) == turned.size


@settings(deadline=None, max_examples=60)
@given(st.integers(8, 30), st.integers(8, 30), st.integers(1, 17), st.integers(1, 17), st.booleans())
def test_a_scaled_decode_keeps_the_finest_detail_of_the_target(
    height: int, width: int, tall: int, wide: int, turned: bool
) -> None:
    """A chequered board, one field a target pixel, is lost if decoded at less than the target's size."""
    board = 255 * (np.add.outer(np.arange(height), np.arange(width)) % 2).astype(np.uint8)
    image = Image.fromarray(np.kron(board, np.ones((tall, wide), np.uint8)))
    if turned:
        image = image.transpose(Image.Transpose.ROTATE_90)
    read = decode(encoded(image, "JPEG", quality=95, exif=oriented(6 if turned else 1)), height, width, 10**6)
    assert ((read[..., 0] > 127) == (board > 127)).mean() > 0.9


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "TIFF"])
def test_a_sketch_is_the_whole_photograph_as_it_is_shown(format_: str, orientation: int) -> None:
    stored = encoded(scene(600, 400), format_, exif=oriented(orientation))
    shown = ImageOps.exif_transpose(Image.open(io.BytesIO(stored))).convert("RGB")
    seen = decode_and_sketch(stored, 32, 48, 16, MAX_PIXELS)
    assert (seen.pixels == decode(stored, 32, 48, MAX_PIXELS)).all()
    assert (seen.width, seen.height) == shown.size
    wanted = pixels(shown.convert("L").resize((16, 16), Image.Resampling.BOX))
    assert np.abs(pixels(Image.fromarray(seen.sketch)) - wanted).max() <= 3


def test_photographs_of_one_coding_with_the_same_pixels_have_the_same_sketch() -> None:
    image = scene(300, 200)
    files = [encoded(image, "PNG"), encoded(image, "PNG", compress_level=1), encoded(image, "JPEG")]
    files.append(encoded(image, "JPEG", progressive=True))  # the same coefficients
    png, again, jpeg, progressive = (decode_and_sketch(file, 32, 32, 16, MAX_PIXELS) for file in files)
    assert (png.sketch == again.sketch).all() and (jpeg.sketch == progressive.sketch).all()
    assert (png.coding, jpeg.coding) == ("PNG RGB 1", "JPEG RGB 1")


@pytest.mark.parametrize("format_", ["PNG", "WEBP", "TIFF"])
def test_of_many_frames_the_first_is_read(format_: str) -> None:
    others = [Image.new("RGB", (60, 40), colour) for colour in ("black", "white")]
    options = {"lossless": True} if format_ == "WEBP" else {}
    data = encoded(scene(), format_, save_all=True, append_images=others, **options)
    assert np.abs(decode(data, 40, 60, MAX_PIXELS) - pixels(scene())).max() <= 2


@pytest.mark.parametrize("quality", range(1, 101))
def test_jpeg_quality_is_what_it_was_saved_with(quality: int) -> None:
    assert inspect(encoded(scene(16, 16), "JPEG", quality=quality), MAX_PIXELS).jpeg_quality == quality


@pytest.mark.parametrize("name", FORMATS)
def test_a_header_tells_of_the_file(name: str) -> None:
    header = inspect(FORMATS[name], MAX_PIXELS)
    format_ = PILLOWS_NAME[name]
    assert (header.format, header.mode, header.width, header.height) == (format_, "RGB", 60, 40)
    assert header.bytes == len(FORMATS[name])
    assert (header.jpeg_quality == 95) == (format_ == "JPEG")


def test_a_header_needs_no_pixels() -> None:
    header = inspect(giant_png(30_000, 20_000), 30_000 * 20_000)
    assert (header.width, header.height) == (30_000, 20_000)


@pytest.mark.parametrize("variable", ["DERMASPARK_ISIC9", "DERMASPARK_HAM10000"])
def test_real_photographs_are_read(variable: str) -> None:
    if variable not in os.environ:
        pytest.skip(f"{variable} names no folder of photographs")
    found = [path for path in Path(os.environ[variable]).rglob("*") if path.suffix[1:].lower() in EXTENSIONS]
    assert found
    for path in sorted(found)[::50]:
        data = path.read_bytes()
        read = decode(data, 64, 64, 50_000_000)
        plain = pixels(Image.open(io.BytesIO(data)).convert("RGB").resize((64, 64), Image.Resampling.HAMMING))
        assert np.abs(read - plain).mean() < 3, path.name
        assert inspect(data, 50_000_000).jpeg_quality is not None
