"""Without its pixels a file is read and checked in all else; with them it is checked whole."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dermaspark.dataset import read_checked
from dermaspark.errors import UserError
from dermaspark.row_file import row_file
from dermaspark.without_pixels import read_without_pixels

ROWS, PIXELS = 700, 3000
SCHEMA = pa.schema([("id", pa.string()), ("image", pa.binary()), ("features", pa.list_(pa.float32()))])


@pytest.fixture
def written(tmp_path):
    """A dataset's URL, one file of it, and where that is."""
    rng = np.random.default_rng(0)
    ids = pa.array([f"p{i}" for i in range(ROWS)])
    images = pa.array([rng.bytes(PIXELS) for _ in range(ROWS)])
    features = pa.array(rng.normal(size=(ROWS, 5)).astype(np.float32).tolist(), SCHEMA.types[2])
    with row_file(f"file://{tmp_path}", "test", 0, 0, SCHEMA) as file:
        file.add(pa.RecordBatch.from_arrays([ids, images, features], schema=SCHEMA))
    return f"file://{tmp_path}", file.described, tmp_path / file.described.path


def chunk(path, name):
    """Where a column of the second row group starts in the file, and how many bytes it has."""
    group = pq.read_metadata(path).row_group(1)
    (found,) = [group.column(i) for i in range(3) if group.column(i).path_in_schema.startswith(name)]
    return found.data_page_offset, found.total_compressed_size


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_all_but_the_pixels_is_there(written):
    url, file, path = written
    found = pq.ParquetFile(pa.BufferReader(read_checked(url, file, pixels=False))).read(["id", "features"])
    assert found.equals(pq.ParquetFile(path).read(["id", "features"]))


def test_pixels_are_not_read(written):
    _, file, path = written
    start, size = chunk(path, "image")
    pixels = np.random.default_rng(1).bytes(size)
    with path.open("r+b") as opened:
        opened.seek(start)
        opened.write(pixels)
    data, sha256 = read_without_pixels(f"file://{path}")
    assert sha256 == file.sha256_without_pixels
    assert size > ROWS * PIXELS / 3
    assert (data[start : start + size] == np.frombuffer(pixels, np.uint8)).mean() < 0.1


def test_a_changed_pixel_is_noticed_where_pixels_are_read_and_any_other_byte_everywhere(written):
    url, file, path = written
    start, size = chunk(path, "image")
    flip(path, start + size // 2)
    read_checked(url, file, pixels=False)
    with pytest.raises(UserError, match="is not the file that the manifest names"):
        read_checked(url, file, pixels=True)
    flip(path, start + size // 2)
    read_checked(url, file, pixels=True)
    for place in (0, chunk(path, "id")[0], chunk(path, "features")[0] + 9, start - 1, start + size, file.bytes - 1):
        flip(path, place)
        with pytest.raises(UserError, match=r"rows\.parquet: is not the file that the manifest names"):
            read_checked(url, file, pixels=False)
        flip(path, place)


def test_no_byte_of_the_footer_can_be_changed(written):
    url, file, path = written
    whole = path.read_bytes()
    footer = 8 + int.from_bytes(whole[-8:-4], "little")
    for back in range(1, footer + 1, 7):
        path.write_bytes(whole[: len(whole) - back] + bytes([whole[-back] ^ 0x81]) + whole[len(whole) - back + 1 :])
        with pytest.raises(UserError, match="is not the file that the manifest names"):
            read_checked(url, file, pixels=False)


def test_another_file_of_the_same_size_is_not_taken_for_it(written):
    url, file, _ = written
    with pytest.raises(UserError, match="is not the file that the manifest names"):
        read_checked(url, replace(file, sha256_without_pixels="0" * 64), pixels=False)
