"""Patches: how a photograph answers to a dictionary of whitened random colour patches of others.

After Coates and Ng ("The importance of encoding versus training with sparse coding and vector quantization",
2011). The dictionary holds each patch in its eight quarter turns and mirror images, and what is kept of the
eight answers is their mean and spread: the features are the same however the photograph was turned.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

SIZE = 6  # pixels a side of a patch
VIEWS = 8  # quarter turns of a patch and of its mirror image
CELLS = 4  # a side of the grid of cells that answers are added up in
BATCH = 256  # photographs held as floats at once while fitting
WHITENING = 0.01  # added to the variance of every direction, as a share of their mean
THRESHOLD = 0.25  # cosine between patch and dictionary from which on an answer counts

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Dictionary:
    """Whitening of patches and the patches to compare with.

    mean: float32 (SIZE * SIZE * 3,); whitening: float32 (SIZE * SIZE * 3, SIZE * SIZE * 3);
    patches: float32 (SIZE * SIZE * 3, VIEWS * filters), unit columns, the views of one patch `filters` apart.
    """

    mean: Floats
    whitening: Floats
    patches: Floats


def reduced(image: NDArray[np.uint8], side: int) -> Floats:
    """A photograph averaged onto a square. uint8 (h, w, 3) to float32 (side, side, 3) in [0, 1].

    Never rounded to whole levels in between: whitening would blow the rounding up.
    """
    height, width = image.shape[:2]
    planes = np.moveaxis(image, -1, 0).astype(np.float32) / np.float32(255)
    averaged = _areas(height, side) @ planes @ _areas(width, side).T
    return np.ascontiguousarray(np.moveaxis(averaged, 0, -1))


def fit(images: list[Floats], filters: int, samples: int, random: np.random.Generator) -> Dictionary:
    """A dictionary of random patches of photographs, whitened by the covariance of `samples` patches.

    images: float32 (side, side, 3) each, as from `reduced`; filters patches in VIEWS views each.
    """
    side = len(images[0])
    photograph = random.integers(len(images), size=samples)
    row, column = random.integers(side - SIZE + 1, size=(2, samples))
    places = zip(photograph, row, column, strict=True)
    taken = np.stack([images[p][r : r + SIZE, c : c + SIZE] for p, r, c in places])
    values = _views(taken).reshape(VIEWS * samples, -1).astype(np.float64)
    mean = values.mean(0)
    variances, axes = np.linalg.eigh(np.cov(values.T))
    whitening = (axes / np.sqrt(variances + WHITENING * variances.mean())) @ axes.T
    chosen = (_views(taken[:filters]).reshape(VIEWS * filters, -1) - mean) @ whitening
    patches = (chosen / np.linalg.norm(chosen, axis=1, keepdims=True)).T
    return Dictionary(*(np.ascontiguousarray(a, np.float32) for a in (mean, whitening, patches)))


def width(filters: int) -> int:
    """Numbers that `describe` gives for a dictionary of so many patches."""
    return (3 + 3 + 1 + 1) * 2 * filters


def describe(image: Floats, dictionary: Dictionary, stride: int) -> Floats:
    """Answers of one photograph to a dictionary, pooled over the whole, the centre, the corners and cells.

    image: float32 (side, side, 3), side - SIZE a multiple of stride. An answer is by how much the cosine
    between a patch of the photograph and one of the dictionary exceeds THRESHOLD, and the same for its
    negative. Kept are the mean and the spread of an answer's eight views in each region, and the greatest and
    the spread of their means over the cells; all as square roots. float32 (16 * filters,).
    """
    answers = _by_cell(image, dictionary, stride).reshape(CELLS, CELLS, 2, VIEWS, -1)
    whole, centre = answers.mean((0, 1)), answers[1:-1, 1:-1].mean((0, 1))
    corners = answers[:: CELLS - 1, :: CELLS - 1].mean((0, 1))
    regions = np.stack([whole, centre, corners])
    cells = answers.mean(3)
    pooled = [regions.mean(2), regions.std(2), cells.max((0, 1))[None], cells.std((0, 1))[None]]
    return np.asarray(np.sqrt(np.concatenate(pooled)).ravel(), np.float32)


def _by_cell(image: Floats, dictionary: Dictionary, stride: int) -> Floats:
    """Mean answers, then of the negatives, in a grid. float32 (CELLS, CELLS, 2, VIEWS * filters)."""
    windows = np.lib.stride_tricks.sliding_window_view(image, (SIZE, SIZE), (0, 1))[::stride, ::stride]
    across = len(windows)
    values = windows.transpose(0, 1, 3, 4, 2).reshape(across * across, -1)
    white = (values - dictionary.mean) @ dictionary.whitening
    white /= np.linalg.norm(white, axis=1, keepdims=True) + 1e-6
    white = white.reshape(across, across, -1)
    # cells of one size, which overlap by a place where the grid does not divide: the same from every side
    length = -(-across // CELLS)
    starts = [0, across // 2 - length, (across + 1) // 2, across - length]
    out = np.empty((CELLS, CELLS, 2, dictionary.patches.shape[1]), np.float32)
    shares = np.full(length * length, 1 / length**2, np.float32)  # a product with them is a mean, and faster
    cosine, answers = np.empty((2, length * length, dictionary.patches.shape[1]), np.float32)  # once: they are large
    for i, top in enumerate(starts):
        for j, left in enumerate(starts):
            cell = white[top : top + length, left : left + length].reshape(length * length, -1)
            np.matmul(cell, dictionary.patches, out=cosine)
            np.maximum(np.subtract(cosine, THRESHOLD, out=answers), 0, out=answers)
            np.matmul(shares, answers, out=out[i, j, 0])
            np.minimum(np.add(cosine, THRESHOLD, out=answers), 0, out=answers)
            np.matmul(shares, answers, out=out[i, j, 1])
    out[:, :, 1] *= -1
    return out


@cache
def _areas(length: int, side: int) -> Floats:
    """What share each of `length` pixels has in each of `side` equal stretches. float32 (side, length)."""
    ends = np.arange(side + 1) * (length / side)
    pixels = np.arange(length)
    shares = np.minimum(ends[1:, None], pixels + 1) - np.maximum(ends[:-1, None], pixels)
    return np.asarray(np.maximum(shares, 0) * (side / length), np.float32)


def _views(patches: Floats) -> Floats:
    """Patches in their VIEWS views. float32 (n, s, s, 3) to (VIEWS, n, s, s, 3)."""
    mirrored = patches[:, :, ::-1]
    return np.stack([np.rot90(p, k, axes=(1, 2)) for p in (patches, mirrored) for k in range(4)])
