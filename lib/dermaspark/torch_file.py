"""Reading arrays from a file that PyTorch wrote, without running its pickle.

Such a file (the form before PyTorch 1.6) is five pickles, then the numbers of each storage. `pickle` would call
whatever they name. Here their instructions are read one by one; the few that put together names, numbers, tuples and
dictionaries are followed, two names stand for a dictionary and for an array, and anything else is refused.
"""

import math
import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # the first two pickles
TYPES: dict[str, np.dtype[Any]] = {"torch FloatStorage": np.dtype("<f4"), "torch LongStorage": np.dtype("<i8")}


class NotRead(ValueError):  # noqa: N818 - a state of the file
    """The file is not of this form, or asks for something that is not done for it."""


class Name(NamedTuple):
    """What a pickle would import: here a text and nothing more."""

    name: str


class Storage(NamedTuple):
    """Where an array's numbers are."""

    key: str
    kind: np.dtype[Any]
    size: int


@dataclass(frozen=True)
class Array:
    """An array to come: numbers of a storage, from `offset` on, `strides` (in numbers) apart."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read(file: BinaryIO) -> dict[str, NDArray[Any]]:
    """The arrays of a state dictionary by name. Raises NotRead."""
    try:
        if (_value(file), _value(file)) != (MAGIC, PROTOCOL):
            raise NotRead("not a file of PyTorch's form before 1.6")
        _value(file)  # sizes of numbers on the machine that wrote it
        wanted, keys = _value(file), _value(file)
        arrays = {name: of for name, of in wanted.items() if isinstance(of, Array)}
        storages = {of.storage.key: of.storage for of in arrays.values()}
        numbers = {key: _numbers(file, storages[key]) for key in keys}
        return {name: _strided(numbers[of.storage.key], of) for name, of in arrays.items()}
    except NotRead:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, struct.error) as error:
        raise NotRead(f"damaged ({type(error).__name__}: {error})") from error


def _numbers(file: BinaryIO, storage: Storage) -> NDArray[Any]:
    (size,) = struct.unpack("<q", file.read(8))
    if size != storage.size:
        raise NotRead(f"the storage {storage.key} has {size} numbers where {storage.size} were said")
    return np.frombuffer(file.read(size * storage.kind.itemsize), storage.kind, count=size)


def _strided(numbers: NDArray[Any], of: Array) -> NDArray[Any]:
    """A copy, each index checked: `as_strided` would read whatever memory lies there."""
    if math.prod(of.shape) > len(numbers):
        raise NotRead(f"an array is larger than its storage {of.storage.key}")
    place: NDArray[np.int64] = np.full(of.shape, of.offset)
    for axis, (side, stride) in enumerate(zip(of.shape, of.strides, strict=True)):
        place += (np.arange(side) * stride).reshape([-1 if k == axis else 1 for k in range(len(of.shape))])
    if place.size and (place.min() < 0 or place.max() >= len(numbers)):
        raise NotRead(f"an array leaves its storage {of.storage.key}")
    return np.asarray(numbers[place])


def _value(file: BinaryIO) -> Any:
    """What the next pickle of the file would be, as far as it is made of what is known here."""
    machine = _Machine()
    for instruction, argument, _ in pickletools.genops(file):
        follow = machine.known.get(instruction.name)
        if follow is None:
            raise NotRead(f"its pickle has the instruction {instruction.name}")
        follow(argument)
    (result,) = machine.stack
    return result


class _Machine:
    """The stack that a pickle's instructions work on, and what each of those that are followed does."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        push = self.stack.append
        self.known: dict[str, Callable[[Any], object]] = {
            **dict.fromkeys(("PROTO", "STOP"), lambda _: None),
            **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE"), push),
            **dict.fromkeys(("BINPUT", "LONG_BINPUT"), lambda key: self.memo.update({key: self.stack[-1]})),
            **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda key: push(self.memo[key])),
            "NONE": push,
            "NEWTRUE": lambda _: push(True),
            "NEWFALSE": lambda _: push(False),
            "GLOBAL": lambda name: push(Name(name)),
            "MARK": lambda _: self.marks.append(len(self.stack)),
            "EMPTY_DICT": lambda _: push({}),
            "EMPTY_LIST": lambda _: push([]),
            "EMPTY_TUPLE": lambda _: push(()),
            "TUPLE": lambda _: push(tuple(self.taken(self.marks.pop()))),
            "TUPLE1": lambda _: push(tuple(self.taken(-1))),
            "TUPLE2": lambda _: push(tuple(self.taken(-2))),
            "TUPLE3": lambda _: push(tuple(self.taken(-3))),
            "SETITEM": lambda _: self.set_items(self.taken(-2)),
            "SETITEMS": lambda _: self.set_items(self.taken(self.marks.pop())),
            "APPEND": lambda _: self.append(self.taken(-1)),
            "APPENDS": lambda _: self.append(self.taken(self.marks.pop())),
            "BINPERSID": lambda _: push(_storage(*self.stack.pop())),
            "REDUCE": lambda _: push(_made(*self.taken(-2))),
            "BUILD": lambda _: self.taken(-1),  # what a state dictionary notes of versions
        }

    def taken(self, place: int) -> list[Any]:
        """Everything from a place on, off the stack."""
        taken = self.stack[place:]
        del self.stack[place:]
        return taken

    def set_items(self, pairs: list[Any]) -> None:
        self.stack[-1].update(zip(pairs[::2], pairs[1::2], strict=True))

    def append(self, values: list[Any]) -> None:
        self.stack[-1].extend(values)


def _storage(kind: str, name: Name, key: str, _place: str, size: int, view: None) -> Storage:
    if kind != "storage" or view is not None or name.name not in TYPES:
        raise NotRead(f"its pickle has a storage of {name.name}")
    return Storage(key, TYPES[name.name], size)


def _made(name: Name, arguments: tuple[Any, ...]) -> Any:
    """What the two functions that a state dictionary is made with would give; no other is known."""
    if name == Name("collections OrderedDict") and not arguments:
        return {}
    if name == Name("torch._utils _rebuild_tensor_v2"):
        storage, offset, shape, strides, *_ = arguments
        return Array(storage, offset, shape, strides)
    raise NotRead(f"its pickle would call {getattr(name, 'name', name)}")
