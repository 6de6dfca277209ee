"""Drawn photographs for the tests, an uneven brown ellipse on uneven skin, and features of them."""

import numpy as np
from dermaspark.features import FeatureSpec, Featuriser, featuriser
from dermaspark.randomness import generator
from numpy.typing import NDArray


def photograph(name: str, height: int = 128, width: int = 128) -> NDArray[np.uint8]:
    """The photograph of that name, the same each time. uint8 (height, width, 3)."""
    random = generator(0, "drawn", name)
    rows, columns = np.mgrid[:height, :width]
    y, x = rows / height - random.uniform(0.4, 0.6), columns / width - random.uniform(0.4, 0.6)
    angle, long, short = random.uniform(0, np.pi), random.uniform(0.2, 0.35), random.uniform(0.1, 0.2)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    inside = 1 / (1 + np.exp(25 * (np.hypot(along / long, across / short) - 1)))
    lesion = random.uniform([70, 40, 30], [140, 90, 80]) + 60 * along[..., None]
    skin = random.uniform([190, 140, 120], [235, 190, 170]) + 30 * y[..., None]
    clean = inside[..., None] * lesion + (1 - inside[..., None]) * skin
    return np.clip(clean + random.normal(0, 6, (height, width, 3)), 0, 255).astype(np.uint8)


def photographs(count: int, height: int = 128, width: int = 128) -> NDArray[np.uint8]:
    """`count` different ones. uint8 (count, height, width, 3)."""
    return np.stack([photograph(f"{i}.jpg", height, width) for i in range(count)])


def views(image: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """An image in its four quarter turns and theirs of its mirror image."""
    return [np.ascontiguousarray(np.rot90(i, k)) for i in (image, image[:, ::-1]) for k in range(4)]


def fit(images: NDArray[np.uint8], spec: FeatureSpec) -> Featuriser:
    """A featuriser from photographs in memory, of which the first `spec.photographs` are used."""
    dictionaries = featuriser.fit_dictionaries(images, spec)
    raw = np.stack([featuriser.describe(image, spec, dictionaries) for image in images[: spec.photographs]])
    return featuriser.fit_blocks(raw, dictionaries, spec)


def apply(fitted: Featuriser, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Features row by row. uint8 (n, height, width, 3) to float32 (n, sum of widths)."""
    return fitted.project(fitted.describe(images))
