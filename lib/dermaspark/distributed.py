"""The Keras side of Horovod: sums over ranks, and the same variables on every rank."""

from collections.abc import Sequence

import horovod.tensorflow as hvd
import keras
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


def add_up(tensors: list[tf.Tensor]) -> list[tf.Tensor]:
    """Each tensor summed over all ranks, in one fused exchange; works inside tf.function."""
    if hvd.size() == 1:
        return tensors
    summed: list[tf.Tensor] = hvd.grouped_allreduce(tensors, op=hvd.Sum)
    return summed


def share(variables: Sequence[keras.Variable]) -> None:
    """Give every rank the values that rank 0 has."""
    hvd.broadcast_variables([variable.value for variable in variables], root_rank=0)
