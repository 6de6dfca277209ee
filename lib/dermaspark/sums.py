"""Sums over scored photographs, from which every figure follows by one division.

Photographs become `Sums`: a sparse table of whole numbers (counts, and losses in units of 2**-32), so that
adding them up gives the same figures to the last bit however the photographs were spread over machines. What
needs ranks (AUC, average precision, calibration, coverage) goes into histograms.
"""

from bisect import bisect_left
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from dermaspark.labels import Floats, Ints, LabelMap

BINS = 2**16  # of a histogram of probabilities; j lies below it
SIDE = 2**24  # i lies below it
UNITS = 2.0**32  # of a loss or confidence in one: ten million rows at the worst loss fit 63 bits
CLIP = 1e-15  # probabilities nearer to 0 or 1 than this count as this
NOT_FINITE = "probabilities are not finite"
SET_ASIDE = ("not scored", "no label", "label is not a class of the model", NOT_FINITE)


class Quantity(IntEnum):
    """What an amount counts; i and j say of which class or bin."""

    CONFUSION = 0  # photographs; i: label, j: predicted class
    LOG_LOSS = 1  # units
    BRIER = 2  # units
    POSITIVE = 3  # photographs of label i whose probability of label i falls into bin j
    NEGATIVE = 4  # photographs of other labels whose probability of label i falls into bin j
    CONFIDENT = 5  # photographs whose confidence (the probability of what is predicted) falls into bin j
    CORRECT = 6  # those of them that were predicted right
    CONFIDENCE = 7  # units; the sum of their confidences
    SET_ASIDE = 8  # photographs without figures; i: the reason, an index into SET_ASIDE
    MALIGNANT = 9  # malignant photographs whose malignant probability falls into bin j
    BENIGN = 10  # benign photographs whose malignant probability falls into bin j
    MISSED = 11  # malignant photographs predicted benign whose confidence falls into bin j
    RESAMPLED = 12  # photographs of label i in replicate j of the bootstrap
    RESAMPLED_RIGHT = 13  # those of them that were predicted right


class Sums(NamedTuple):
    """A sparse table of sums, int64 (m,) each; tables are added by adding up what has the same key."""

    key: Ints  # quantity, i and j in one number
    amount: Ints

    def dense(self, quantity: Quantity, rows: int, columns: int) -> Ints:
        """One quantity as a matrix, int64 (rows, columns)."""
        chosen = self.key // (SIDE * BINS) == quantity
        place = self.key[chosen] % (SIDE * BINS)
        dense = np.zeros((rows, columns), np.int64)
        np.add.at(dense, (place // BINS, place % BINS), self.amount[chosen])
        return dense


def count(truth: Ints, probabilities: Floats, label_map: LabelMap | None = None) -> Sums:
    """The sums of photographs: truth int (n,) label indices, probabilities float64 (n, classes), finite.

    label_map: what the labels mean; by default each class is its own label.
    """
    label_map = label_map or LabelMap.of_classes([str(k) for k in range(probabilities.shape[1])])
    of_labels = label_map.probabilities(probabilities)
    rows, labels = np.arange(len(truth)), np.arange(of_labels.shape[1])
    predicted, top = probabilities.argmax(axis=1), label_map.confidence(of_labels, probabilities)
    right, hits = label_map.right[truth, predicted], truth[:, None] == labels
    places, top_places = log_odds_bin(of_labels), log_odds_bin(top)
    label = np.broadcast_to(labels, places.shape)
    losses = -np.log(np.clip(of_labels[rows, truth], CLIP, 1 - CLIP))
    brier = np.square(of_labels - hits).sum(axis=1)
    return joined(
        added(Quantity.CONFUSION, truth, predicted),
        added(Quantity.LOG_LOSS, 0 * rows, 0 * rows, losses * UNITS),
        added(Quantity.BRIER, 0 * rows, 0 * rows, brier * UNITS),
        added(Quantity.POSITIVE, label[hits], places[hits]),
        added(Quantity.NEGATIVE, label[~hits], places[~hits]),
        added(Quantity.CONFIDENT, 0 * rows, top_places),
        added(Quantity.CORRECT, 0 * rows[right], top_places[right]),
        added(Quantity.CONFIDENCE, 0 * rows, top_places, top * UNITS),
    )


def to_prior(probabilities: Floats, training: Floats, wanted: Floats) -> Floats:
    """Probabilities (n, classes) as if the classes had been as frequent in training as `wanted` says.

    Divided by the training prior, times the wanted one, and made to sum to 1 again (Saerens et al., "Adjusting the
    Outputs of a Classifier to New a Priori Probabilities", 2002). Both are shares of the classes, (classes,); a class
    that training never saw gets 0.
    """
    weights = np.divide(wanted, training, out=np.zeros(len(training)), where=training > 0)
    weighted = probabilities * weights
    total = weighted.sum(axis=1, keepdims=True)
    return np.where(total > 0, weighted / np.where(total > 0, total, 1), probabilities)


def log_odds_bin(probabilities: Floats) -> Ints:
    """The bin of each probability, from 0 to BINS - 1, in the order of the probabilities.

    Bins are even in logistic(log-odds / 4): finest where most log-odds of a network lie, and out at 1e-9 they
    still tell it from 1.1e-9.
    """
    clipped = np.clip(probabilities, CLIP, 1 - CLIP)
    root, other = np.sqrt(np.sqrt(clipped)), np.sqrt(np.sqrt(1 - clipped))
    places: Ints = np.floor(root / (root + other) * BINS).astype(np.int64)
    return places


def lower_edge(place: int) -> float:
    """The smallest probability whose bin is this or a higher one."""

    def number(bits: int) -> float:
        return float(np.int64(bits).view(np.float64))

    # Numbers from 0 to 1 are in the order of their bits.
    bits = range(int(np.float64(1).view(np.int64)) + 1)
    return number(bisect_left(bits, place, key=lambda of: int(log_odds_bin(np.array(number(of))))))


def added(quantity: Quantity, i: Ints, j: Ints, amounts: Floats | None = None) -> Sums:
    """Amounts, rounded to whole numbers (1 each by default), added up by (i, j)."""
    whole = np.ones(len(i), np.int64) if amounts is None else np.rint(amounts).astype(np.int64)
    return total(Sums((quantity * SIDE + i) * BINS + j, whole))


def total(sums: Sums) -> Sums:
    """Each key once, in order, with all its amounts added up."""
    keys, place = np.unique(sums.key, return_inverse=True)
    amounts = np.zeros(len(keys), np.int64)
    np.add.at(amounts, place, sums.amount)
    return Sums(keys, amounts)


def by_i(sums: Sums) -> Iterator[tuple[int, Sums]]:
    """The parts of a table by i: most of it is histograms, one for each class."""
    side = sums.key // BINS % SIDE
    for i in np.unique(side).tolist():
        yield i, Sums(sums.key[side == i], sums.amount[side == i])


def joined(*parts: Sums) -> Sums:
    return Sums(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
