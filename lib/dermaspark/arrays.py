"""Arrays in one file (.npz): nothing in it is unpickled, and it takes no more memory than it has bytes."""

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def pack(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The same bytes for the same arrays."""
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    return file.getvalue()


def unpack(data: bytes) -> dict[str, NDArray[Any]]:
    """Raises ValueError for what `pack` did not make: a pickle, an archive that is compressed or damaged."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            if any(member.compress_type != zipfile.ZIP_STORED for member in file.zip.infolist()):
                raise ValueError("it is compressed, so its size in memory is not known")
            arrays = {key: file[key] for key in file.files}
    except (AttributeError, TypeError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        raise ValueError(str(error)) from error
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):
        raise ValueError("it holds something that is no array")
    return arrays
