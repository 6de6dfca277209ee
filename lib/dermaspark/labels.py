"""What the labels of photographs mean to a model: which of its classes are right for each, and which are malignant."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LabelMap:
    """The labels of photographs beside the classes of a model; mostly they are the same, each right for itself.

    In an outside test a label is a folder, and any number of classes may be right for it.
    """

    names: tuple[str, ...]  # of the labels, in the order of their indices
    classes: tuple[str, ...]  # of the model, in the order of its probabilities
    right: NDArray[np.bool_]  # (labels, classes): the prediction of this class is right for this label
    malignant: NDArray[np.bool_]  # (classes,)

    @classmethod
    def of_classes(cls, classes: Sequence[str], malignant: Sequence[str] = ()) -> Self:
        """Each class as its own label; those that are named in `malignant`, in any spelling, are malignant."""
        return cls.of_sets({name: [name] for name in classes}, classes, malignant)

    @classmethod
    def of_sets(cls, sets: Mapping[str, Sequence[str]], classes: Sequence[str], malignant: Sequence[str] = ()) -> Self:
        """Labels, each with the classes that are right for it."""
        right = [[name in wanted for name in classes] for wanted in sets.values()]
        matrix = np.array(right, bool).reshape(len(sets), len(classes))
        bad = {plain(name) for name in malignant}
        return cls(tuple(sets), tuple(classes), matrix, np.array([plain(name) in bad for name in classes], bool))

    @property
    def kind(self) -> Ints:
        """Of each label: 1 where all its classes are malignant, 0 where none is, -1 where it may be either."""
        every = (self.malignant | ~self.right).all(axis=1)
        none = ~(self.malignant & self.right).any(axis=1)
        return np.select([none, every], [0, 1], default=-1)

    def probabilities(self, of_classes: Floats) -> Floats:
        """The probability of each label, (n, labels): the sum over its classes; of_classes is (n, classes)."""
        of_labels: Floats = of_classes @ self.right.T.astype(float)
        return of_labels

    def confidence(self, of_labels: Floats, of_classes: Floats) -> Floats:
        """How sure the model is that its prediction is right, (n,).

        The probability of the label that the predicted class is right for (the likeliest, where they are
        several); of the class itself where it is right for none.
        """
        right = self.right[:, of_classes.argmax(axis=1)].T
        best: Floats = np.where(right, of_labels, 0).max(axis=1, initial=0)
        return np.where(right.any(axis=1), best, of_classes.max(axis=1))


def plain(name: str) -> str:
    """A name without case, spaces, hyphens and underscores: what different spellings of one have in common."""
    return re.sub(r"[\s_-]+", "", name).casefold()
