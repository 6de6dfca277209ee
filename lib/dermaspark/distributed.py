"""The Keras side of Horovod: sums over ranks, and the same variables on every rank."""

from collections.abc import Sequence

import horovod.tensorflow as hvd
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray


def start() -> tuple[int, int]:
    """Join the other ranks; this rank's number and how many there are."""
    hvd.init()
    return hvd.rank(), hvd.size()


def stop() -> None:
    hvd.shutdown()


def total(values: Sequence[float]) -> NDArray[np.float64]:
    """The sum over all ranks, exact for counts: float64, the same on every rank."""
    summed: NDArray[np.float64] = hvd.allreduce(tf.constant(values, tf.float64), op=hvd.Sum, name="total").numpy()
    return summed


def sum_gradients(gradients: list[tf.Tensor]) -> list[tf.Tensor]:
    """Each gradient summed over all ranks, in one fused exchange; works inside tf.function."""
    if hvd.size() == 1:
        return gradients
    summed: list[tf.Tensor] = hvd.grouped_allreduce(gradients, op=hvd.Sum)
    return summed


def share(variables: Sequence[tf.Variable]) -> None:
    """Give every rank the values that rank 0 has."""
    hvd.broadcast_variables(variables, root_rank=0)


def share_object(value: dict[str, float | int]) -> dict[str, float]:
    """Rank 0's numbers under the same keys on every rank; float64, so whole numbers up to 2**53 are exact."""
    keys = sorted(value)
    given = tf.constant([float(value[key]) for key in keys], tf.float64)
    return dict(zip(keys, hvd.broadcast(given, root_rank=0, name="share").numpy().tolist(), strict=True))
