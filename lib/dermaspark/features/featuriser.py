"""The featuriser: fitted on training photographs without labels, applied to one photograph at a time."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermaspark.features import blocks, colour_shape, covariance, patches
from dermaspark.features.blocks import Block
from dermaspark.features.patches import Dictionary
from dermaspark.randomness import generator

FAMILIES = ("colour_shape", "patches", "covariance")

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
    scales: tuple[Scale, ...] = (Scale(64, 2, 192), Scale(32, 1, 96))
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
    """Fitted dictionaries, one a scale, and blocks, one a family in the order of the spec."""

    spec: FeatureSpec
    dictionaries: tuple[Dictionary, ...]
    blocks: dict[str, Block]

    def apply(self, images: NDArray[np.uint8]) -> Floats:
        """Features row by row, family after family. uint8 (n, height, width, 3) to float32 (n, sum of widths)."""
        width = sum(len(block.mean) for block in self.blocks.values())
        raw = [describe(image, self.spec, self.dictionaries) for image in images]
        return self.project(np.array(raw, np.float32).reshape(-1, width))

    def project(self, raw: Floats) -> Floats:
        """Features of what `describe` gives: float32 (n, raw width) to (n, sum of widths)."""
        ends = np.cumsum([len(block.mean) for block in self.blocks.values()])
        parts = np.split(raw, ends[:-1], axis=1)
        blocks_of = zip(self.blocks.values(), parts, strict=True)
        return np.concatenate([block.apply(part) for block, part in blocks_of], axis=1)

    def widths(self) -> dict[str, int]:
        """Numbers that each family comes to, in the order in which they stand."""
        return {family: len(block.offset) for family, block in self.blocks.items()}

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything fitted, as named arrays for an .npz file; the spec goes beside it as JSON."""
        arrays: dict[str, NDArray[Any]] = {}
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
        return Featuriser(spec, dictionaries, fitted)


def fit(images: NDArray[np.uint8], spec: FeatureSpec) -> Featuriser:
    """A featuriser from training photographs, uint8 (n, height, width, 3).

    The first `spec.photographs` are used; who has more puts them in a random order first.
    """
    dictionaries = fit_dictionaries(images, spec)
    raw = np.stack([describe(image, spec, dictionaries) for image in images[: spec.photographs]])
    return fit_blocks(raw, dictionaries, spec)


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
    ends = np.cumsum([raw_width(family, spec) for family in spec.families])
    parts = dict(zip(spec.families, np.split(raw, ends[:-1], axis=1), strict=True))
    return Featuriser(spec, dictionaries, {name: blocks.fit(part, spec.components) for name, part in parts.items()})


def describe(image: NDArray[np.uint8], spec: FeatureSpec, dictionaries: tuple[Dictionary, ...]) -> Floats:
    """Raw features of a photograph, family by family. uint8 (height, width, 3) to float32 (width,)."""
    described = []
    for family in spec.families:
        if family == "patches":
            for scale, dictionary in zip(spec.scales, dictionaries, strict=True):
                described.append(patches.describe(patches.reduced(image, scale.side), dictionary, scale.stride))
        else:
            described.append({"colour_shape": colour_shape, "covariance": covariance}[family].describe(image))
    return np.concatenate(described)


def raw_width(family: str, spec: FeatureSpec) -> int:
    """Numbers that `describe` gives of a family."""
    if family == "patches":
        return sum(patches.width(scale.filters) for scale in spec.scales)
    return {"colour_shape": colour_shape.WIDTH, "covariance": covariance.WIDTH}[family]
