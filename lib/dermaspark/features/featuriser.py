"""The featuriser: fitted on training photographs without labels, applied to one photograph at a time."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from dermaspark.features import blocks, colour_shape, covariance, efficientnet, lesion, patches
from dermaspark.features.blocks import Block
from dermaspark.features.patches import Dictionary
from dermaspark.features.planes import ScaleSpace, lab, on_grid
from dermaspark.randomness import generator

REFUSED = 0.01  # of photographs like those that it was fitted on, by `strangeness`
FAMILIES = ("colour_shape", "patches", "covariance")  # those that need nothing but this library

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Scale:
    """One scale of patches: photographs squeezed to side x side pixels, a patch every `stride` pixels."""

    side: int
    stride: int
    filters: int  # patches in the dictionary, each in eight views


@dataclass(frozen=True)
class FeatureSpec:
    """What is computed; as plain values (`to_dict`) it is the bundle's record of it."""

    families: tuple[str, ...] = FAMILIES
    scales: tuple[Scale, ...] = (Scale(64, 2, 96), Scale(32, 1, 96))
    patch_samples: int = 20_000  # patches, times eight views, that whitening is fitted on
    patch_photographs: int = 1000  # that they are cut from, at most
    components: int = 200  # principal axes kept of each family
    photographs: int = 4000  # that axes are fitted on, at most
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as for JSON."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "FeatureSpec":
        """The spec that `to_dict` gave, also after a trip through JSON."""
        scales = tuple(Scale(**scale) for scale in values["scales"])
        return FeatureSpec(**{**values, "families": tuple(values["families"]), "scales": scales})


@dataclass(frozen=True)
class Featuriser:
    """Fitted dictionaries, one a scale, and blocks, one a family in the order of the spec.

    limits: float32 (2 * families,), of each distance, beyond which a photograph is not like those fitted on.
    """

    spec: FeatureSpec
    dictionaries: tuple[Dictionary, ...]
    blocks: dict[str, Block]
    limits: Floats

    def describe(self, images: NDArray[np.uint8]) -> Floats:
        """What `project` and `strangeness` work on. uint8 (n, height, width, 3) to float32 (n, raw width).

        BLAS gets one thread, as it does in Spark: more would add up in another order.
        """
        width = sum(len(block.mean) for block in self.blocks.values())
        with threadpool_limits(1):
            raw = [describe(image, self.spec, self.dictionaries) for image in images]
        return np.array(raw, np.float32).reshape(-1, width)

    def project(self, raw: Floats) -> Floats:
        """float32 (n, raw width) to (n, sum of widths)."""
        return np.concatenate([block.apply(part) for block, part in _by_block(self.blocks, raw)], axis=1)

    def strangeness(self, raw: Floats) -> Floats:
        """How unlike the photographs that it was fitted on, float32 (n,): above 1 it is none of their kind."""
        return np.asarray((distances(self.blocks, raw) / self.limits).max(axis=1, initial=0), np.float32)

    def widths(self) -> dict[str, int]:
        """Numbers that each family comes to, in the order in which they stand."""
        return {family: len(block.variances) for family, block in self.blocks.items()}

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything fitted, as named arrays for an .npz file; the spec goes beside it as JSON."""
        arrays: dict[str, NDArray[Any]] = {"limits": self.limits}
        for i, dictionary in enumerate(self.dictionaries):
            arrays |= {f"dictionary.{i}.{name}": array for name, array in vars(dictionary).items()}
        for family, block in self.blocks.items():
            arrays |= {f"block.{family}.{name}": array for name, array in vars(block).items()}
        return arrays

    @staticmethod
    def from_arrays(spec: FeatureSpec, arrays: Mapping[str, NDArray[Any]]) -> "Featuriser":
        """The featuriser that `to_arrays` gave. Raises KeyError naming an array that is missing."""

        def fields(kind: type, prefix: str) -> dict[str, Any]:
            return {field.name: arrays[f"{prefix}.{field.name}"] for field in dataclasses.fields(kind)}

        scales = range(len(spec.scales)) if "patches" in spec.families else range(0)
        dictionaries = tuple(Dictionary(**fields(Dictionary, f"dictionary.{i}")) for i in scales)
        fitted = {family: Block(**fields(Block, f"block.{family}")) for family in spec.families}
        return Featuriser(spec, dictionaries, fitted, arrays["limits"])


def fit_dictionaries(images: NDArray[np.uint8], spec: FeatureSpec) -> tuple[Dictionary, ...]:
    """The first half of the fit: patches, whitened, of the first photographs. uint8 (n, height, width, 3)."""
    if "patches" not in spec.families:
        return ()
    fitted = []
    for scale in spec.scales:
        random = generator(spec.seed, "patches", f"{scale.side}x{scale.stride}x{scale.filters}")
        squeezed = [patches.reduced(image, scale.side) for image in images[: spec.patch_photographs]]
        fitted.append(patches.fit(squeezed, scale.filters, spec.patch_samples, random))
    return tuple(fitted)


def fit_blocks(raw: Floats, dictionaries: tuple[Dictionary, ...], spec: FeatureSpec) -> Featuriser:
    """The second half: from what `describe` gives of the photographs to fit on, float32 (n, width)."""
    # A fit lies nearer to its own photographs than to others: limits come from half of them, and a fit to the rest.
    half = -(-len(raw) // 2)
    limits = _limits(distances(_fit_each(raw[:half], spec), raw[half:] if half < len(raw) else raw))
    return Featuriser(spec, dictionaries, _fit_each(raw, spec), limits)


def _fit_each(raw: Floats, spec: FeatureSpec) -> dict[str, Block]:
    ends = np.cumsum([raw_width(family, spec) for family in spec.families])
    parts = zip(spec.families, np.split(raw, ends[:-1], axis=1), strict=True)
    return {family: blocks.fit(part, spec.components) for family, part in parts}


def distances(fitted: Mapping[str, Block], raw: Floats) -> Floats:
    """float32 (n, raw width) to (n, 2 * families): of each family along its axes and away from them."""
    return np.concatenate([block.distances(part) for block, part in _by_block(fitted, raw)], axis=1)


def _limits(found: Floats) -> Floats:
    """Limits that REFUSED of these photographs pass in one distance or another. (n, d) to float32 (d,)."""
    usual = np.maximum(np.quantile(found, 1 - REFUSED, axis=0), 1e-6)
    return np.asarray(usual * np.quantile((found / usual).max(axis=1), 1 - REFUSED), np.float32)


def _by_block(fitted: Mapping[str, Block], raw: Floats) -> Iterator[tuple[Block, Floats]]:
    ends = np.cumsum([len(block.mean) for block in fitted.values()])
    yield from zip(fitted.values(), np.split(raw, ends[:-1], axis=1), strict=True)


def describe(image: NDArray[np.uint8], spec: FeatureSpec, dictionaries: tuple[Dictionary, ...]) -> Floats:
    """Raw features of a photograph, family by family. uint8 (height, width, 3) to float32 (width,)."""
    grid = on_grid(image)
    colours = ScaleSpace(lab(grid))
    found = lesion.find(colours.planes[0])
    described = []
    for family in spec.families:
        if family == "colour_shape":
            described.append(colour_shape.describe(grid, colours, found))
        elif family == "covariance":
            described.append(covariance.describe(colours, found))
        elif family == "efficientnet":
            described.append(efficientnet.describe(image))
        else:
            for scale, dictionary in zip(spec.scales, dictionaries, strict=True):
                described.append(patches.describe(patches.reduced(image, scale.side), dictionary, scale.stride))
    return np.concatenate(described)


def raw_width(family: str, spec: FeatureSpec) -> int:
    """Numbers that `describe` gives of a family."""
    if family == "patches":
        return sum(patches.width(scale.filters) for scale in spec.scales)
    widths = {"colour_shape": colour_shape.WIDTH, "covariance": covariance.WIDTH, "efficientnet": efficientnet.WIDTH}
    return widths[family]
