"""What is read from a file of arrays, and what is refused before memory is taken for it."""

import io

import numpy as np
import pytest
from dermaspark.arrays import pack, unpack


def saved(save, **arrays) -> bytes:
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def test_arrays_come_back_as_they_were():
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b/0": np.zeros(0, np.uint8)}
    assert pack(arrays) == pack(arrays)
    back = unpack(pack(arrays))
    assert list(back) == ["a", "b/0"]
    assert all(np.array_equal(back[name], array) and back[name].dtype == array.dtype for name, array in arrays.items())


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (saved(np.savez_compressed, a=np.zeros(10**6)), "compressed"),
        (saved(np.savez, a=np.array([object], object)), "allow_pickle"),
        (saved(lambda file, a: np.save(file, a), a=np.zeros(3)), "."),
        (pack({"a": np.zeros(100)})[:-60], "."),
        (b"", "."),
    ],
)
def test_what_pack_did_not_make_is_refused(data, reason):
    with pytest.raises(ValueError, match=reason):
        unpack(data)
