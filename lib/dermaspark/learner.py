"""One step of learning, as a TensorFlow graph: loss and gradient over all rows of all ranks, and the new weights."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from dermaspark import distributed, networks
from dermaspark.config import Train

Step = TypeVar("Step", bound=Callable[..., Any])


def compiled(step: Step) -> Step:
    """`step` as a TensorFlow graph, with its types kept."""
    # No step branches on a tensor: without AutoGraph, which takes Horovod's source apart too, the first is 3 s earlier.
    return cast(Step, tf.function(step, reduce_retracing=True, autograph=False))


class Learner:
    """A model with its optimizer, and the steps that move them."""

    def __init__(
        self, model: keras.Model, optimizer: keras.optimizers.Optimizer, settings: Train, counts: Sequence[int]
    ):
        """`counts`: training photographs of each class, (classes,)."""
        self.model, self.optimizer, self.settings = model, optimizer, settings
        self.logits = networks.logits_of(model)
        self.classes = len(counts)
        self.class_weights = tf.constant(_class_weights(counts, settings.class_weights), tf.float32)
        optimizer.build(model.trainable_variables)

    @compiled
    def train_step(
        self,
        inputs: tf.Tensor,
        labels: tf.Tensor,
        real: tf.Tensor,
        global_rows: tf.Tensor,
        partner: tf.Tensor,
        weight: tf.Tensor,
    ) -> tf.Tensor:
        """Move the weights by the gradient of the mean loss over all real rows of all ranks.

        Keras would divide by the batch size, padding included; here the sums are added up over the ranks and
        divided once by the number of real rows. A row's loss is the mean over the network's heads, each of which
        learns as if it were alone.

        Args:
            inputs, labels, real: of a Batch.
            global_rows: real rows of the step over all ranks.
            partner, weight: of a Mix.

        Returns:
            float32 (2,), the step's loss and number of correct rows, summed over all rows of all ranks.
        """
        targets = self.targets(labels)
        weighted = targets * tf.gather(self.class_weights, labels)[:, None]
        if self.settings.mixup:
            inputs, targets, weighted = (_mixed(rows, partner, weight) for rows in (inputs, targets, weighted))
        with tf.GradientTape() as tape:
            logits = self.logits(inputs, training=True)
            objective = tf.reduce_sum(_losses(logits, weighted) * real) / global_rows
        variables = self.model.trainable_variables
        sums = tf.stack([tf.reduce_sum(_losses(logits, targets) * real), _correct(_fused(logits), labels, real)])
        *gradients, sums = distributed.add_up([*tape.gradient(objective, variables), sums])
        self.optimizer.apply(gradients, variables)
        return sums

    @compiled
    def evaluate_step(self, inputs: tf.Tensor, labels: tf.Tensor, real: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The loss and the number of correct rows of a batch, summed over its real rows."""
        logs = self.log_probabilities(inputs)
        losses = -tf.gather(logs, labels, axis=1, batch_dims=1) * real
        return tf.reduce_sum(losses), _correct(logs, labels, real)

    @compiled
    def log_probabilities(self, inputs: tf.Tensor) -> tf.Tensor:
        """float32 (n, classes), as the finished model gives them."""
        return _fused(self.logits(inputs, training=False))

    def targets(self, labels: tf.Tensor) -> tf.Tensor:
        """float32 (n, classes): what each row should be given."""
        smoothing = self.settings.label_smoothing
        return tf.one_hot(labels, self.classes) * (1 - smoothing) + smoothing / self.classes


def _losses(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """(n,) cross-entropies of logits (n, heads, classes) and targets (n, classes), the mean over the heads."""
    return tf.reduce_mean(-tf.reduce_sum(targets[:, None] * tf.nn.log_softmax(logits), axis=2), axis=1)


def _fused(logits: tf.Tensor) -> tf.Tensor:
    """Log-probabilities (n, classes) of logits (n, heads, classes): the heads' own, averaged."""
    return tf.nn.log_softmax(tf.reduce_mean(tf.nn.log_softmax(logits), axis=1))


def _mixed(rows: tf.Tensor, partner: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """float32: `weight` of each row and the rest of its partner."""
    rows = tf.cast(rows, tf.float32)
    share = tf.reshape(weight, [-1, *[1] * (rows.shape.rank - 1)])
    return share * rows + (1 - share) * tf.gather(rows, partner)


def _class_weights(counts: Sequence[int], balanced: bool) -> NDArray[np.float64]:
    """(classes,) weights whose mean over the training rows is 1: equal, or each class the same in total."""
    n = np.array(counts, float)
    return n.sum() / (len(n) * np.maximum(n, 1)) if balanced else np.ones(len(n))


def _correct(logits: tf.Tensor, labels: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
    hits = tf.equal(tf.argmax(logits, axis=1, output_type=labels.dtype), labels)
    return tf.reduce_sum(tf.cast(hits, tf.float32) * real)
