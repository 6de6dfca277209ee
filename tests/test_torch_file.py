"""A file of PyTorch's is read for its numbers, and nothing that its pickle names is ever called."""

import io
import pickle
import struct

import numpy as np
import pytest
from dermaspark import torch_file

NUMBERS = np.arange(12, dtype=np.float32)


class Evil:
    """Whose pickle writes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def tensor(shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0, kind: str = "FloatStorage") -> bytes:
    """The instructions for a tensor in the storage '7' of 12 numbers, as torch.save wrote them before 1.6."""
    storage = b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text("7") + text("cpu") + number(12) + b"NtQ"
    sides = (b"(" + b"".join(map(number, of)) + b"t" for of in (shape, strides))
    ordered = b"ccollections\nOrderedDict\n)R"
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset) + b"".join(sides) + b"\x89" + ordered + b"tR"
    )


def file_of(dictionary: bytes, numbers: np.ndarray = NUMBERS) -> io.BytesIO:
    """A file whose fourth pickle, the state dictionary, has these instructions."""
    before = [pickle.dumps(of, 2) for of in (torch_file.MAGIC, torch_file.PROTOCOL, {"little_endian": True})]
    storages = pickle.dumps(["7"], 2) + struct.pack("<q", len(numbers)) + numbers.tobytes()
    return io.BytesIO(b"".join(before) + dictionary + storages)


def one(of: bytes) -> io.BytesIO:
    return file_of(b"\x80\x02}(" + text("weight") + of + b"u.")


def test_arrays_are_read_with_their_shapes_and_strides() -> None:
    (name, whole), *_ = torch_file.read(one(tensor((3, 4), (4, 1)))).items()
    assert name == "weight" and whole.dtype == np.float32
    np.testing.assert_array_equal(whole, NUMBERS.reshape(3, 4))
    turned = torch_file.read(one(tensor((4, 2), (1, 4), offset=4)))["weight"]
    np.testing.assert_array_equal(turned, NUMBERS.reshape(3, 4)[1:].T)
    assert torch_file.read(one(tensor((), (), offset=5)))["weight"] == 5


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_would_write_a_file_writes_none(tmp_path, protocol) -> None:
    planted = pickle.dumps(Evil(str(tmp_path / "written")), protocol)
    with pytest.raises(torch_file.NotRead, match="would call|has the instruction"):
        torch_file.read(file_of(planted))
    with pytest.raises(torch_file.NotRead, match="would call|has the instruction"):
        torch_file.read(one(planted.removeprefix(b"\x80\x02").removesuffix(b".")))
    assert not (tmp_path / "written").exists()
    pickle.loads(planted)  # noqa: S301 - to show that the plant works
    assert (tmp_path / "written").exists()


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (io.BytesIO(b"PK\x03\x04"), "damaged|instruction"),
        (io.BytesIO(b""), "damaged"),
        (io.BytesIO(pickle.dumps(1, 2) * 2), "not a file of PyTorch's form"),
        (one(tensor((3, 4), (4, 1), kind="HalfStorage")), "a storage of torch HalfStorage"),
        (one(tensor((3, 4), (4, 1), offset=1)), "leaves its storage 7"),
        (one(tensor((3, 4), (-4, 1))), "leaves its storage 7"),
        (file_of(b"\x80\x02}(" + text("a") + tensor((1,), (1,)) + b"u.", NUMBERS[:5]), "5 numbers where 12 were said"),
        (io.BytesIO(one(tensor((3, 4), (4, 1))).getvalue()[:-4]), "damaged"),
    ],
)
def test_what_is_not_of_this_form_is_refused(file, message) -> None:
    with pytest.raises(torch_file.NotRead, match=message):
        torch_file.read(file)
