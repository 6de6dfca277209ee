"""What a prediction goes by: occlusion maps of a photograph, and the importance of families of features."""

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]  # (n, height, width, 3)
Floats = NDArray[np.float32] | NDArray[np.float64]
Probabilities = Callable[[Images], NDArray[np.float64]]  # images to (n, classes)
Logits = Callable[[NDArray[np.float32]], Floats]  # features (n, d) to (n, classes), up to a constant in each row

PATCH = 0.2  # side of the patch, as a share of the photograph's shorter side
STEPS = 14  # places of the patch along the shorter side
SKIN = 0.1  # width of the frame that is taken for skin, as a share of each side
IMAGES_AT_A_TIME = 64
SMALLEST = 1e-12  # a probability below it counts as it


def occlusion(
    probabilities: Probabilities, image: Images, which: int, patch: float = PATCH, steps: int = STEPS
) -> NDArray[np.float64]:
    """How much the log-probability of a class drops when a part of the photograph is hidden.

    A square is slid over the photograph (Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks",
    2014). It has the colour of the surrounding skin, so that it takes a part of the lesion away and adds little.

    Args:
        image: uint8 (height, width, 3).
        which: index of the class.
        patch: side of the square, as a share of the shorter side, in (0, 1].
        steps: places along the shorter side; about steps ** 2 photographs are scored.

    Returns:
        float64 (height, width): the drop for a square centred on each pixel, from the places tried by linear
        interpolation; above 0 where what was hidden speaks for the class, below where it speaks against it.
    """
    height, width = image.shape[:2]
    side = max(1, round(patch * min(height, width)))
    stride = min(float(side), max(1.0, (min(height, width) - side) / max(steps - 1, 1)))
    tops, lefts = _places(height, side, stride), _places(width, side, stride)
    corners = [(top, left) for top in tops for left in lefts]
    colour = skin_colour(image)
    logs = []
    for start in range(0, len(corners), IMAGES_AT_A_TIME):
        chunk = corners[start : start + IMAGES_AT_A_TIME]
        hidden = np.repeat(image[None], len(chunk), axis=0)
        for one, (top, left) in zip(hidden, chunk, strict=True):
            one[top : top + side, left : left + side] = colour
        logs.append(_log(probabilities(hidden))[:, which])
    drops = _log(probabilities(image[None]))[0, which] - np.concatenate(logs)
    middle = (side - 1) / 2
    return _on_pixels(drops.reshape(len(tops), len(lefts)), np.array(tops) + middle, np.array(lefts) + middle, image)


def skin_colour(image: Images) -> NDArray[np.uint8]:
    """The median colour, uint8 (3,), of the frame of a photograph, uint8 (height, width, 3), without its corners.

    The lesion is mostly in the middle; in the corners a dermatoscope's tube may show, black.
    """
    height, width = image.shape[:2]
    rows, columns = max(1, round(SKIN * height)), max(1, round(SKIN * width))
    tall = image[height // 4 : height - height // 4]
    wide = image[:, width // 4 : width - width // 4]
    frame = [part.reshape(-1, 3) for part in (tall[:, :columns], tall[:, -columns:], wide[:rows], wide[-rows:])]
    colour: NDArray[np.uint8] = np.median(np.concatenate(frame), axis=0).astype(np.uint8)
    return colour


def importance(
    logits: Logits,
    features: NDArray[np.float32],
    labels: NDArray[np.integer],
    widths: Mapping[str, int],
    generator: np.random.Generator,
    repeats: int = 5,
) -> dict[str, dict[str, float]]:
    """What is lost when a family of features is shuffled among the photographs, whole (Breiman 2001; Fisher, Rudin
    and Dominici 2019).

    A family that tells nothing which the others do not tell too loses little: importance is not what it knows.

    Args:
        logits: of float32 (n, d) features; log-probabilities will do.
        labels: int (n,), indices of the classes.
        widths: of each family, in the order in which they stand; they add up to d.
        repeats: shuffles, over which the losses are averaged.

    Returns:
        by family `accuracy_drop` and `log_loss_rise`.

    Raises:
        ValueError: the widths do not add up to the features' width.
    """
    if sum(widths.values()) != features.shape[1]:
        raise ValueError(f"families of {sum(widths.values())} features in all, but there are {features.shape[1]}")
    accuracy, log_loss = _figures(logits(features), labels)
    found, end = {}, 0
    for family, width in widths.items():
        start, end = end, end + width
        losses = []
        for _ in range(repeats):
            shuffled = features.copy()
            shuffled[:, start:end] = features[generator.permutation(len(features)), start:end]
            losses.append(_figures(logits(shuffled), labels))
        mean_accuracy, mean_log_loss = np.mean(losses, axis=0)
        found[family] = {
            "accuracy_drop": float(accuracy - mean_accuracy),
            "log_loss_rise": float(mean_log_loss - log_loss),
        }
    return found


def _figures(logits: Floats, labels: NDArray[np.integer]) -> tuple[float, float]:
    """Accuracy and log loss."""
    scores = np.asarray(logits, np.float64)
    scores = scores - scores.max(axis=1, keepdims=True)
    log_probabilities = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    right = (scores.argmax(axis=1) == labels).mean()
    return float(right), float(-log_probabilities[np.arange(len(labels)), labels].mean())


def _places(length: int, side: int, stride: float) -> list[int]:
    """Where a patch starts, from 0 to the last place that it fits, `stride` apart at most."""
    count = math.ceil((length - side) / stride) + 1 if length > side else 1
    return [round(place) for place in np.linspace(0, max(length - side, 0), count)]


def _on_pixels(grid: Floats, rows: Floats, columns: Floats, image: Images) -> NDArray[np.float64]:
    """The grid's values, which lie at these rows and columns, at each pixel; beyond the outermost, theirs."""
    height, width = image.shape[:2]
    tall = np.stack([np.interp(np.arange(height), rows, column) for column in grid.T], axis=1)
    return np.stack([np.interp(np.arange(width), columns, row) for row in tall])


def _log(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.log(np.maximum(probabilities, SMALLEST))
    return found
