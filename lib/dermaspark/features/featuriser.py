"""The featuriser: fitted on training photographs without labels, applied to one photograph at a time."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermaspark.features import blocks, colour_shape, covariance, patches
from dermaspark.features.blocks import Block
from dermaspark.features.patches import Dictionary
from dermaspark.randomness import generator, hash64

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
    components: int = 200  # principal axes kept of each family
    photographs: int = 10_000  # at most so many are fitted on, those of the lowest hash
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

    def apply(self, images: NDArray[np.uint8]) -> dict[str, Floats]:
        """Features by family, row by row. uint8 (n, height, width, 3) to float32 (n, components) each."""
        raw = [describe(image, self.spec, self.dictionaries) for image in images]
        return {
            family: block.apply(np.array([r[family] for r in raw], np.float32).reshape(-1, len(block.mean)))
            for family, block in self.blocks.items()
        }

    def widths(self) -> dict[str, int]:
        """Numbers that each family comes to."""
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


def fit(images: NDArray[np.uint8], ids: Sequence[str], spec: FeatureSpec) -> Featuriser:
    """A featuriser from training photographs: the same for any order of the rows.

    images: uint8 (n, height, width, 3); ids: of the photographs, unique. Of more than `spec.photographs`,
    those of the lowest hash are used; who has more than fits in memory selects them first, by `precedence`.
    """
    order = sorted(range(len(ids)), key=lambda i: (precedence(ids[i], spec), ids[i]))[: spec.photographs]
    chosen = images[order]
    dictionaries = fit_dictionaries(chosen, spec)
    raw = [describe(image, spec, dictionaries) for image in chosen]
    stacked = {family: np.stack([r[family] for r in raw]) for family in spec.families}
    return fit_blocks(stacked, dictionaries, spec)


def precedence(photograph: str, spec: FeatureSpec) -> int:
    """Where a photograph, by its id, stands in line for the fit: lowest first."""
    return hash64(spec.seed, "features", photograph)


def fit_dictionaries(images: NDArray[np.uint8], spec: FeatureSpec) -> tuple[Dictionary, ...]:
    """The first half of the fit: patches, whitened. images: uint8 (n, height, width, 3), by precedence."""
    if "patches" not in spec.families:
        return ()
    fitted = []
    for scale in spec.scales:
        random = generator(spec.seed, "patches", f"{scale.side}x{scale.stride}x{scale.filters}")
        squeezed = [patches.reduced(image, scale.side) for image in images]
        fitted.append(patches.fit(squeezed, scale.filters, spec.patch_samples, random))
    return tuple(fitted)


def fit_blocks(raw: Mapping[str, Floats], dictionaries: tuple[Dictionary, ...], spec: FeatureSpec) -> Featuriser:
    """The second half: raw features, float32 (n, width) by family, of the photographs to fit on."""
    return Featuriser(spec, dictionaries, {f: blocks.fit(raw[f], spec.components) for f in spec.families})


def describe(image: NDArray[np.uint8], spec: FeatureSpec, dictionaries: tuple[Dictionary, ...]) -> dict[str, Floats]:
    """Raw features of a photograph by family. uint8 (height, width, 3) to float32 (width,) each."""
    described = {}
    for family in spec.families:
        if family == "patches":
            answers = [
                patches.describe(patches.reduced(image, scale.side), dictionary, scale.stride)
                for scale, dictionary in zip(spec.scales, dictionaries, strict=True)
            ]
            described[family] = np.concatenate(answers)
        else:
            described[family] = {"colour_shape": colour_shape, "covariance": covariance}[family].describe(image)
    return described
