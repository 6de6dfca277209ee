"""The fused optimizers' promise: what Keras' own would have done, but for rounding."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from dermaspark import adam

SHAPES = ((40, 30), (30,), (7,))
STEPS = 50


def descend(optimizer):
    rng = np.random.default_rng(0)
    variables = [keras.Variable(rng.normal(size=shape).astype(np.float32)) for shape in SHAPES]
    optimizer.build(variables)

    @tf.function
    def step(*gradients):
        optimizer.apply(list(gradients), variables)

    for number in range(STEPS):
        optimizer.learning_rate.assign(1e-2 / (1 + number))
        step(*(tf.constant(rng.normal(size=shape), tf.float32) for shape in SHAPES))
    return [v.numpy() for v in [*variables, *optimizer.variables]]


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_weights_and_slots_are_those_of_keras(name):
    arguments = {"weight_decay": 0.02} if name == "AdamW" else {}
    ours = descend(getattr(adam, name)(1e-2, **arguments))
    theirs = descend(getattr(keras.optimizers, name)(1e-2, **arguments))
    assert len(ours) == len(theirs)
    for mine, keras_own in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, keras_own, rtol=2e-5, atol=2e-7)
