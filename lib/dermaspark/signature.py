"""Signatures: 53 bits of what a photograph looks like, and the keys under which its copies meet.

A photograph's moments against Hermite functions (sines and cosines with a soft edge, nearly uncorrelated over
photographs of a spot in the middle) change only in sign and order when it is flipped or turned by 90 degrees,
so the signs of 53 of them in all 8 views are 8 signatures. A key is the signature cut down to one of three
subsets of its bits, in the view where that is the smallest number: the same for all 8 views. A copy differs from
its original in few bits, and those are of moments near zero, so a photograph is also filed under the keys that
it would have with each of its weakest bits the other way (multi-probe hashing: Lv et al., VLDB 2007) and,
as an original, under those of its own cropped versions.

Of 8,500 disguised copies 99.8 % share a key with their originals; of the pairs of 6,475 different dermoscopic
photographs, one in 3,800 does.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from dermaspark.fingerprint import THUMBNAIL_SIDE

# Which part of a side is left when up to 3 % is cropped from either end of it; the whole first.
CROPS = [(start, 1 - end) for start, end in product((0.0, 0.015, 0.03), repeat=2)]
ORDERS = 10  # of the Hermite functions along a side, 0 to 9
HIGHEST_ORDER = 10  # of both sides together; finer detail does not outlive JPEG quality 30
HIGHEST_ORDER_IN_KEYS = 9
WIDTH = 0.3  # of the functions' Gaussian, in half sides
SUBSETS = 3  # each key leaves out one third of the bits
WEAKEST = 8  # bits that are tried the other way
MIN_CONTRAST = 1.0  # grey levels, standard deviation; a flatter photograph looks like any other
VIEWS = 8
SUBSAMPLES = 16  # of a thumbnail's pixel, where the functions are averaged over it


@dataclass(frozen=True)
class Filed:
    """Where photographs are filed: one row for each photograph and key, arrays of one length."""

    photograph: NDArray[np.int64]  # its index
    key: NDArray[np.int64]
    signature: NDArray[np.int64]  # in the view that the key is of
    whole: NDArray[np.bool_]  # of the whole photograph, not of a crop of it


def file_under_keys(thumbnails: NDArray[np.uint8]) -> Filed:
    """The keys of photographs with `thumbnails`, uint8 (n, THUMBNAIL_SIDE, THUMBNAIL_SIDE).

    About 80 rows a photograph; none for one whose contrast is under MIN_CONTRAST.
    """
    index = np.flatnonzero(thumbnails.std(axis=(1, 2)) >= MIN_CONTRAST)
    whole, cropped = signatures(thumbnails[index])
    key, signature = keys(np.concatenate([whole, cropped], axis=1))
    # Of one photograph's equal keys the first is kept, one of the whole photograph if there is one.
    order = key.argsort(axis=1, kind="stable")
    key, signature = (np.take_along_axis(values, order, axis=1) for values in (key, signature))
    kept = np.diff(key, axis=1, prepend=-1) != 0
    photograph = np.repeat(index, kept.sum(axis=1))
    return Filed(photograph, key[kept], signature[kept], (order < whole.shape[1] * SUBSETS)[kept])


def signatures(thumbnails: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Signatures in all views.

    Returns:
        of the whole photograph, as it is and with each weak bit the other way: int64 (n, 1 + WEAKEST, VIEWS);
        of its crops, the first of which is the whole: int64 (n, len(CROPS) ** 2, VIEWS).
    """
    n, crops = len(thumbnails), len(CROPS)
    moments = _ALONG_SIDE @ thumbnails.astype(np.float32) @ _ALONG_SIDE.T
    moments = moments.reshape(n, crops, ORDERS, crops, ORDERS).transpose(0, 1, 3, 2, 4)
    features = moments.reshape(n * crops**2, ORDERS**2) @ _FEATURE_OF_MOMENTS
    signs = _in_all_views(features).reshape(n, crops**2, VIEWS)
    strength = np.abs(features[:: crops**2])
    weak = strength.argpartition(WEAKEST, axis=1)[:, :WEAKEST]
    return np.concatenate([signs[:, :1], signs[:, :1] ^ _BIT_IN_VIEWS[weak]], axis=1), signs


def _in_all_views(features: NDArray[np.floating]) -> NDArray[np.int64]:
    """The signs of features (n, bits), seen in each view: int64 (n, VIEWS).

    In another view a feature's bit says whether a certain feature, the same or another one, is above zero or below it:
    the answers, eight at a time, are looked up.
    """
    answers = np.packbits(np.concatenate([features > 0, features < 0], axis=1), axis=1, bitorder="little")
    signs = np.zeros((len(features), VIEWS), np.int64)
    for answer, bits in zip(answers.T, _BITS_BY_ANSWERS, strict=True):
        signs |= bits.take(answer, axis=0)
    return signs


def keys(signs: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Keys of signatures int64 (n, k, VIEWS), and each signature in its key's view: int64 (n, k * SUBSETS)."""
    masked = signs[:, :, None, :] & _SUBSETS[:, None]
    view = masked.argmin(axis=-1)[..., None]
    key = np.take_along_axis(masked, view, -1)[..., 0] | (np.arange(SUBSETS) << 60)
    signature = np.take_along_axis(signs[:, :, None, :], view, -1)[..., 0]
    shape = (len(signs), signs.shape[1] * SUBSETS)
    return key.reshape(shape), signature.reshape(shape)


def _along_side() -> NDArray[np.float32]:
    """Moments of one side: each crop's Hermite functions, averaged over pixels: (crops * ORDERS, side)."""
    position = (np.arange(THUMBNAIL_SIDE * SUBSAMPLES) + 0.5) / (THUMBNAIL_SIDE * SUBSAMPLES)
    blocks = []
    for start, end in CROPS:
        x = (2 * (position - start) / (end - start) - 1) / WIDTH
        functions = [np.exp(-x * x / 2), np.sqrt(2) * x * np.exp(-x * x / 2)]
        for k in range(2, ORDERS):
            functions.append(np.sqrt(2 / k) * x * functions[-1] - np.sqrt((k - 1) / k) * functions[-2])
        inside = (position >= start) & (position <= end)
        blocks.append(np.array(functions) * inside / (end - start))
    samples = np.concatenate(blocks).reshape(len(CROPS) * ORDERS, THUMBNAIL_SIDE, SUBSAMPLES)
    averages: NDArray[np.float32] = samples.mean(axis=-1).astype(np.float32)
    return averages


def _orbits() -> list[list[NDArray[np.float64]]]:
    """Sets of features that the 8 views only permute and negate, coarse before fine.

    A feature is a linear function of the moments (ORDERS, ORDERS). Its mean over the 8 views is zero: features
    that are the same in all views (of even orders alone) say little beyond 'a spot in the middle'.
    """

    def moment(u: int, v: int) -> NDArray[np.float64]:
        unit = np.zeros((ORDERS, ORDERS))
        unit[u, v] = 1
        return unit

    orbits: list[tuple[int, list[NDArray[np.float64]]]] = []
    for u in range(ORDERS):
        for v in range(min(u, HIGHEST_ORDER - u) + 1):
            if (u + v) % 2:
                orbits.append((u * u + v * v, [moment(u, v), moment(v, u)]))
                continue
            if u % 2:
                orbits.append((u * u + v * v, [moment(u, v) + moment(v, u)]))
            if u != v:
                orbits.append((u * u + v * v, [moment(u, v) - moment(v, u)]))
    return [features for _, features in sorted(orbits, key=lambda orbit: orbit[0])]


def _in_view(feature: NDArray[np.float64], view: int) -> NDArray[np.float64]:
    """The linear function that has, of a photograph, the value of `feature` of the photograph's view."""
    sign = (-1.0) ** np.arange(ORDERS)
    turned = feature * (sign[:, None] if view & 1 else 1) * (sign if view & 2 else 1)
    return turned.T if view & 4 else turned


def _subsets() -> NDArray[np.int64]:
    """Masks of the bits of each key: the orbits are dealt to SUBSETS hands, and each key leaves out one."""
    masks, bit, dealt = [0] * SUBSETS, 0, 0
    for orbit in _ORBITS:
        in_keys = np.argwhere(orbit[0])[0].sum() <= HIGHEST_ORDER_IN_KEYS
        for _ in orbit:
            for subset in range(SUBSETS):
                masks[subset] |= (in_keys and dealt % SUBSETS != subset) << bit
            bit += 1
        dealt += int(in_keys)
    return np.array(masks, np.int64)


def _answers() -> NDArray[np.int64]:
    """Which answer of `_in_all_views` is each bit in each view: (VIEWS, bits)."""
    features = np.array(_FEATURES).reshape(len(_FEATURES), -1)
    views = np.array([[_in_view(feature, view).ravel() for feature in _FEATURES] for view in range(VIEWS)])
    overlap = np.einsum("fm,vgm->vgf", features, views) / (features**2).sum(axis=1)  # 1 or -1 with one of them
    answers: NDArray[np.int64] = np.abs(overlap).argmax(axis=-1) + len(_FEATURES) * (overlap.min(axis=-1) < -0.5)
    return answers


def _bits_by_answers() -> NDArray[np.int64]:
    """The bits in each view that are set by eight answers: (bytes of the answers, 256, VIEWS)."""
    table = np.zeros((-(-2 * len(_FEATURES) // 8), 256, VIEWS), np.int64)
    byte = np.arange(256)
    for view, bit in np.ndindex(_ANSWERS.shape):
        answer = _ANSWERS[view, bit]
        table[answer // 8, :, view] |= (byte >> answer % 8 & 1) << bit
    return table


def _bit_in_views() -> NDArray[np.int64]:
    """Which bit of each view (a power of two) is the feature's that is bit i of the first: (bits, VIEWS)."""
    bits: NDArray[np.int64] = np.int64(1) << (_ANSWERS % len(_FEATURES)).argsort(axis=1).T
    return bits


_ORBITS = _orbits()
_FEATURES = [feature for orbit in _ORBITS for feature in orbit]
_FEATURE_OF_MOMENTS = np.array(_FEATURES, np.float32).reshape(len(_FEATURES), ORDERS**2).T.copy()
_ALONG_SIDE = _along_side()
_ANSWERS = _answers()
_BITS_BY_ANSWERS = _bits_by_answers()
_BIT_IN_VIEWS = _bit_in_views()
_SUBSETS = _subsets()
