"""Mixup: which rows of a batch are mixed, and by what weights; numpy in, numpy out."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dermaspark.randomness import generator


class Mix(NamedTuple):
    """Row i becomes weight[i] of itself and the rest of row partner[i]."""

    partner: NDArray[np.int32]  # (batch_size,)
    weight: NDArray[np.float32]  # (batch_size,) from 0.5 to 1


def draw(real: int, batch_size: int, alpha: float, seed: int, place: str) -> Mix:
    """Mixup (Zhang et al. 2018) of the first `real` rows of a batch; padding stays as it is.

    Args:
        alpha: weights come from Beta(alpha, alpha), and of a pair the larger goes to the row itself; 0: no mixing.
        place: of the batch in the run ('epoch/rank/step').
    """
    partner, weight = np.arange(batch_size, dtype=np.int32), np.ones(batch_size, np.float32)
    if alpha:
        random = generator(seed, "mixup", place)
        partner[:real] = random.permutation(real)
        share = random.beta(alpha, alpha, real)
        weight[:real] = np.maximum(share, 1 - share)
    return Mix(partner, weight)
