"""Reading one photograph."""

import contextlib
import io
import os
import pickle
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dermaspark.photo import decode, decode_and_sketch, inspect
from dermaspark.photo_file import EXTENSIONS, Unreadable
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

# Pytest puts its own warning filters in place of the one that the module sets.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

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


def lab(image: Image.Image) -> Image.Image:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    converted = ImageCms.profileToProfile(image, *profiles, outputMode="LAB")
    assert converted is not None
    return converted


def pixels(image: Image.Image) -> NDArray[np.int64]:
    return np.asarray(image).astype(np.int64)


def reason(data: bytes, max_pixels: int = MAX_PIXELS) -> str:
    with pytest.raises(Unreadable) as raised:
        decode(data, 8, 8, max_pixels)
    return raised.value.reason


def read_or_reason(data: bytes) -> NDArray[np.uint8] | str:
    try:
        return decode(data, 8, 8, MAX_PIXELS)
    except Unreadable as error:
        return error.reason


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


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "empty file"),
        (b"lesion,diagnosis\n", "not an image"),
        (bytes(4096), "not an image"),
        (b"<html><body>404</body></html>", "not an image"),
        (encoded(scene(), "GIF"), "unsupported format GIF"),
        (encoded(scene(), "JPEG2000"), "unsupported format JPEG 2000"),
        (encoded(scene(), "PDF"), "unsupported format PDF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "unsupported format HEIC"),
        (encoded(scene(), "AVIF"), "unsupported format AVIF"),
        (encoded(scene(), "PPM"), "not an image"),
    ],
)
def test_what_is_not_a_photograph_is_named(data: bytes, expected: str) -> None:
    assert reason(data) == expected


def test_a_format_goes_by_its_bytes_not_by_a_list_of_everything_pillow_opens() -> None:
    for name in ("ICO", "TGA", "PCX", "SGI", "EPS", "DDS"):
        assert reason(encoded(scene(32, 32), name)).startswith(("not an image", "unsupported")), name


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_cut_short_anywhere_is_truncated_or_loses_no_pixel(name: str) -> None:
    options: dict[str, dict[str, Any]] = {
        "progressive": {"progressive": True},
        "tif deflate": {"compression": "tiff_adobe_deflate"},
        "webp": {"lossless": True},
    }
    whole = encoded(scene(24, 16), PILLOWS_NAME[name], **options.get(name, {}))
    expected = decode(whole, 8, 8, MAX_PIXELS)
    for length in range(12, len(whole)):
        outcome = read_or_reason(whole[:length])
        if isinstance(outcome, str):
            assert outcome == "truncated", length
        else:
            assert np.array_equal(outcome, expected), length
            assert length > len(whole) - 24, "only what follows the pixels may be missing"


@settings(deadline=None, max_examples=400)
@given(st.sampled_from(sorted(FORMATS)), st.data())
def test_a_damaged_file_is_read_or_unreadable_and_nothing_else(name: str, data: st.DataObject) -> None:
    damaged = bytearray(FORMATS[name])
    # Half of the damage in the header, where it does most.
    places = st.one_of(st.integers(0, min(200, len(damaged) - 1)), st.integers(0, len(damaged) - 1))
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=8)):
        damaged[place] = value
    outcome = read_or_reason(bytes(damaged))
    if isinstance(outcome, str):
        assert 0 < len(outcome) <= 120
        assert outcome.isprintable()
    else:
        assert outcome.shape == (8, 8, 3)
    with contextlib.suppress(Unreadable):
        inspect(bytes(damaged), MAX_PIXELS)


@pytest.mark.parametrize("junk", [b"", b"\xff\0\xff"])
def test_damaged_exif_costs_the_orientation_alone(junk: bytes) -> None:
    exif = oriented(6).tobytes()
    for cut in range(7, len(exif)):
        for format_, options in (("JPEG", {"dpi": (72, 72)}), ("JPEG", {}), ("WEBP", {}), ("PNG", {})):
            data = encoded(scene(), format_, exif=exif[:cut] + junk, **options)
            assert decode(data, 8, 8, MAX_PIXELS).shape == (8, 8, 3)
            assert inspect(data, MAX_PIXELS).format == format_


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def giant_png(width: int, height: int) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def resized(data: bytes, at: int, layout: str, *values: int) -> bytes:
    """The file with the size in its header overwritten."""
    changed = bytearray(data)
    struct.pack_into(layout, changed, at, *values)
    return bytes(changed)


def giant_tiff(width: int, height: int) -> bytes:
    """60 x 40 grey pixels in one tile of the size given."""
    entries = (
        *((256, 60), (257, 40), (258, 8), (259, 1), (262, 1), (277, 1)),
        *((322, width), (323, height), (324, 8), (325, 8)),
    )
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\0" + struct.pack("<I8xH", 16, len(entries)) + directory + bytes(4)


def giant_vp8x(width: int, height: int) -> bytes:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<II", 10, 0) + size


GIANTS = {
    "png": giant_png(10_000, 10_000),
    "jpg": resized(FORMATS["jpg"], FORMATS["jpg"].index(b"\xff\xc0") + 5, ">HH", 10_000, 10_000),
    "bmp": resized(FORMATS["bmp"], 18, "<ii", 10_000, 10_000),
    "tif": giant_tiff(10_000, 10_000),
    "webp": resized(FORMATS["webp"], 21, "<I", 9999 | 9999 << 14),
    "vp8x": giant_vp8x(10_000, 10_000),
}


@pytest.mark.parametrize("read", ["decode(data, 8, 8, 50_000_000)", "inspect(data, 50_000_000)"])
def test_too_many_pixels_are_refused_before_memory_is_taken(tmp_path: Path, read: str) -> None:
    """In a process that has 200 MB to spare, where each of these would take 300 at least."""
    for name, data in GIANTS.items():
        (tmp_path / name).write_bytes(data)
    program = f"""
import resource, sys; sys.path[:] = {sys.path!r}
from pathlib import Path
from dermaspark.photo import decode, inspect
from dermaspark.photo_file import Unreadable
in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (in_use + 200_000_000,) * 2)
for path in sorted(Path({str(tmp_path)!r}).iterdir()):
    data = path.read_bytes()
    try:
        {read}
    except Unreadable as error:
        print(path.name, error.reason)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == [f"{name} too many pixels (10000 x 10000)" for name in sorted(GIANTS)]


def test_the_limit_is_on_the_pixels_and_includes_itself() -> None:
    assert decode(FORMATS["png"], 8, 8, 60 * 40).shape == (8, 8, 3)
    assert reason(FORMATS["png"], max_pixels=60 * 40 - 1) == "too many pixels (60 x 40)"


def test_a_png_with_a_text_bomb_is_refused() -> None:
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(10_000_000)))
    data = FORMATS["png"][:33] + bomb + FORMATS["png"][33:]
    assert len(data) < 20_000
    assert reason(data).startswith("damaged: ")


def test_lack_of_memory_is_not_taken_for_a_damaged_photograph(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.core, "new", exhausted)
    with pytest.raises(MemoryError):
        decode(FORMATS["png"], 8, 8, MAX_PIXELS)


def test_many_threads_read_what_one_reads_and_pillow_is_left_as_it_was() -> None:
    before = (Image.MAX_IMAGE_PIXELS, list(warnings.filters))
    files = list(FORMATS.values()) * 20
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(lambda data: decode(data, 16, 16, MAX_PIXELS), files))
    for i, data in enumerate(files[: len(FORMATS)]):
        expected = decode(data, 16, 16, MAX_PIXELS)
        assert all(np.array_equal(other, expected) for other in read[i :: len(FORMATS)])
    assert before == (Image.MAX_IMAGE_PIXELS, list(warnings.filters))


def test_pillow_says_nothing_on_the_terminal(tmp_path: Path) -> None:
    """Python's own warnings are shown still; in a process of its own, as pytest has filters of its own."""
    tiff = bytearray(encoded(scene(), "TIFF"))
    tiff[4:8] = struct.pack("<I", len(tiff) - 1)  # the directory begins at the last byte
    (tmp_path / "odd.tif").write_bytes(tiff)
    huge = encoded(Image.new("1", (10_000, 9_500)), "TIFF", compression="group4")
    (tmp_path / "huge.tif").write_bytes(huge)
    program = f"""
import sys, warnings; sys.path[:] = {sys.path!r}
from pathlib import Path
from dermaspark.photo import decode
from dermaspark.photo_file import Unreadable
for path in sorted(Path({str(tmp_path)!r}).iterdir()):
    try:
        decode(path.read_bytes(), 8, 8, 10**9)
    except Unreadable as error:
        print(path.name, error.reason)
warnings.warn("ours")
"""
    command = [sys.executable, "-W", "always", "-c", program]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout == "odd.tif truncated\n"
    assert len(ran.stderr.splitlines()) == 1
    assert "ours" in ran.stderr


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


def test_the_reason_survives_the_way_from_an_executor() -> None:
    assert pickle.loads(pickle.dumps(Unreadable("truncated"))).reason == "truncated"  # noqa: S301 - our own


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
