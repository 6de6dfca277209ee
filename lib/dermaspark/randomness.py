"""Random numbers that depend on a seed, a purpose and a key alone, never on where or when they are drawn."""

import hashlib
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence
from numpy.typing import NDArray


def hash64(seed: int, purpose: str, key: str) -> int:
    """A uniform integer in [0, 2**63), the same on every machine, for one seed, purpose and key.

    63 bits, so that it fits a signed 64-bit column in Spark and Parquet.
    """
    return int.from_bytes(_digest(seed, purpose, key)[:8], "little") >> 1


def generator(seed: int, purpose: str, key: str) -> np.random.Generator:
    """A generator for one seed, purpose and key (for example a photograph's id), independent of all others.

    Philox is counter-based and takes the digest as its key (Salmon et al., "Parallel Random Numbers: As Easy
    as 1, 2, 3", 2011), so no two keys share a stream and nothing needs to be drawn in order.
    """
    words = _Key(_digest(seed, purpose, key))
    return np.random.Generator(np.random.Philox(words))  # type: ignore[arg-type]  # numpy's stubs name one subclass


class _Key(ISeedSequence):
    """A digest as Philox' key. `Philox(key=...)` first draws one that it throws away, and takes three times as long."""

    def __init__(self, digest: bytes) -> None:
        self._words = np.frombuffer(digest, "<u8")

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> NDArray[np.uint64]:
        return self._words


def _digest(seed: int, purpose: str, key: str) -> bytes:
    text = f"{seed}\x00{purpose}\x00{key}".encode("utf-8", "surrogateescape")
    return hashlib.blake2b(text, digest_size=16).digest()
