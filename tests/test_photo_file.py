"""What a file must be to be opened as a photograph: whatever it holds, it is read or refused, with the reason."""

import contextlib
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
from dermaspark.photo import decode, inspect
from dermaspark.photo_file import Unreadable
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from photo_files import FORMATS, MAX_PIXELS, PILLOWS_NAME, chunk, encoded, giant_png, oriented, scene
from PIL import Image

# Pytest puts its own warning filters in place of the one that the module sets.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def reason(data: bytes, max_pixels: int = MAX_PIXELS) -> str:
    with pytest.raises(Unreadable) as raised:
        decode(data, 8, 8, max_pixels)
    return raised.value.reason


def read_or_reason(data: bytes) -> NDArray[np.uint8] | str:
    try:
        return decode(data, 8, 8, MAX_PIXELS)
    except Unreadable as error:
        return error.reason


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


def test_the_reason_survives_the_way_from_an_executor() -> None:
    assert pickle.loads(pickle.dumps(Unreadable("truncated"))).reason == "truncated"  # noqa: S301 - our own
