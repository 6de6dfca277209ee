"""Random numbers come from the seed, the purpose and the key alone, as NumPy's Philox makes them of such a key."""

import hashlib

import numpy as np
import pytest
from dermaspark.randomness import generator, hash64


@pytest.mark.parametrize(
    ("seed", "purpose", "key"), [(0, "augment", "a/b.jpg#1"), (7, "wear", "\udc80 ä"), (-1, "", "")]
)
def test_the_digest_is_the_key(seed, purpose, key):
    text = f"{seed}\0{purpose}\0{key}".encode("utf-8", "surrogateescape")
    digest = hashlib.blake2b(text, digest_size=16).digest()
    wanted = np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
    given = generator(seed, purpose, key)
    assert (given.uniform(size=1000) == wanted.uniform(size=1000)).all()
    assert (given.permutation(1000) == wanted.permutation(1000)).all()
    assert hash64(seed, purpose, key) == int.from_bytes(digest[:8], "little") >> 1


def test_one_generator_leaves_the_others_alone():
    first, second = generator(0, "a", "x"), generator(0, "a", "y")
    drawn = np.array([[first.random(), second.random()] for _ in range(5)])
    assert (drawn[:, 0] == generator(0, "a", "x").random(5)).all()
    assert (drawn[:, 1] == generator(0, "a", "y").random(5)).all()
    assert len(np.unique(drawn)) == drawn.size
