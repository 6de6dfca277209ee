"""Owns what the nine kinds of lesion look like: where each holds melanin, blood, deep pigment and keratin.

A lesion is drawn as densities of pigment, not as colours: the photograph adds the skin's own densities and
turns the sum into light, so a lesion looks as it would on that skin and in that light. Lengths in a picture
are in picture heights, from its middle; lengths in a lesion are in lesion radii, from its own.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from brushes import (
    COLUMNS,
    GRID_X,
    GRID_Y,
    ROWS,
    TURN,
    Field,
    Points,
    curve,
    discs,
    network,
    ragged,
    rays,
    ridges,
    scatter,
    smooth_noise,
    soft,
    step,
    strokes,
)
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))
NONE: Field = np.zeros((ROWS, COLUMNS), np.float32)


# --------------------------------------------------------------------------------------------------- a lesion


@dataclass(frozen=True)
class Frame:
    """Where a lesion lies: its middle (2,) in the picture, its half axes there as the columns of (2, 2)."""

    middle: NDArray[np.float64]
    axes: NDArray[np.float64]
    radius: float  # the geometric mean of the half axes, in picture heights

    def place(self, points: Points) -> Points:
        """Points of the lesion as points of the picture."""
        placed: Points = self.middle + points @ self.axes.T
        return placed

    def discs(self, centres: Points, radii: NDArray[np.float64]) -> Image.Image:
        """A stencil of filled circles, centres and radii in the lesion's lengths."""
        return discs(self.place(centres), radii * self.radius)

    def arc(self, start: Points, end: Points, bend: float) -> Points:
        """An arc in the picture between two points of the lesion."""
        return curve(self.place(start), self.place(end), bend)

    def depth(self, rng: Generator, waves: float, warp: float) -> Field:
        """How deep in the lesion a pixel lies: 1 in the middle, 0 on the border, negative outside.

        `waves` is the height of the border's two to six lobes, `warp` its raggedness, both in radii.
        """
        (a, b), (c, d) = np.linalg.inv(self.axes).tolist()
        x, y = GRID_X - float(self.middle[0]), GRID_Y - float(self.middle[1])
        u = a * x + b * y + warp * smooth_noise(rng, 0.35 * self.radius, 2)
        v = c * x + d * y + warp * smooth_noise(rng, 0.35 * self.radius, 2)
        angle, border = np.arctan2(v, u), np.ones_like(u)
        for lobes in range(2, 7):
            height = waves * rng.normal() / math.sqrt(lobes)
            border += height * np.cos(lobes * angle + rng.uniform(0, TURN))
        depth: Field = 1 - np.hypot(u, v) / np.maximum(border, 0.3)
        return depth


class Lesion(NamedTuple):
    """Densities from 0 (none) to about 1.5 (opaque) of three pigments; keratin covers them by 0 to 1."""

    melanin: Field = NONE
    blood: Field = NONE
    deep: Field = NONE  # melanin deep in the dermis, which looks blue-grey
    keratin: Field = NONE


# --------------------------------------------------------------------------------------------- the nine kinds


def actinic_keratosis(rng: Generator, frame: Frame) -> Lesion:
    """A wide red patch without a border: pale follicles in a red net ("strawberry"), flakes of scale."""
    inside = step(frame.depth(rng, 0.1, 0.12), -0.2, 0.5)
    mottled = inside * np.clip(0.85 + 0.25 * smooth_noise(rng, 0.12, 3), 0.2, 1.4)
    net = network(rng, rng.uniform(0.028, 0.04))
    scale = step(smooth_noise(rng, 0.09, 4), 0.7, 2.2) * inside
    return Lesion(
        melanin=rng.uniform(0.05, 0.2) * mottled,
        blood=rng.uniform(0.5, 0.8) * mottled * (0.65 + 0.45 * net),
        keratin=0.75 * scale + 0.15 * inside * (1 - net),
    )


def basal_cell_carcinoma(rng: Generator, frame: Frame) -> Lesion:
    """A pale, shiny nodule with branching vessels over it and a few blue-grey nests along its edge."""
    inside = step(frame.depth(rng, 0.06, 0.06), -0.08, 0.2)
    count = int(rng.integers(4, 8))
    turns = rng.uniform(0, TURN) + np.arange(count) * TURN / count + rng.normal(0, 0.25, count)
    where = rng.uniform(0.6, 0.85, (count, 1)) * rays(turns)
    nests = ragged(rng, frame.discs(where, rng.uniform(0.15, 0.32, count)), 4)
    vessels = soft(_branching_vessels(rng, frame), 0.5)
    shine = soft(frame.discs(scatter(rng, 1, 0.3), np.array([0.45])), 11)
    return Lesion(
        melanin=0.3 * nests,
        blood=inside * (rng.uniform(0.15, 0.3) + 0.7 * vessels),
        deep=rng.uniform(0.7, 1.0) * nests * (0.9 + 0.25 * smooth_noise(rng, 0.04, 2)),
        keratin=inside * (0.15 + 0.4 * shine) * (1 - 0.7 * nests),
    )


def dermatofibroma(rng: Generator, frame: Frame) -> Lesion:
    """A white scar in the middle of a ring of delicate brown network that fades outwards."""
    depth = frame.depth(rng, 0.05, 0.06)
    scar = step(depth + 0.08 * smooth_noise(rng, 0.05, 2), 0.4, 0.75)
    ring = step(depth, -0.2, 0.3) * (1 - 0.85 * scar)
    net = network(rng, rng.uniform(0.02, 0.028))
    return Lesion(
        melanin=rng.uniform(0.5, 0.75) * ring * (0.6 + 0.6 * net),
        blood=rng.uniform(0.05, 0.2) * step(depth, -0.3, 0.3),
        keratin=rng.uniform(0.45, 0.65) * scar * (0.85 + 0.15 * smooth_noise(rng, 0.03, 2)),
    )


def melanoma(rng: Generator, frame: Frame) -> Lesion:
    """Large, lopsided, ragged, of many colours: dark blotches, a blue-white veil, red, streaks on a side."""
    inside = step(frame.depth(rng, 0.16, 0.12), -0.05, 0.12)
    blotches = step(smooth_noise(rng, 0.7 * frame.radius, 3), -0.8, 1.2)
    veil = soft(frame.discs(scatter(rng, 1, 0.5, inner=0.2), rng.uniform(0.35, 0.5, 1)), 8)
    veil = inside * step(veil + 0.2 * smooth_noise(rng, 0.08, 3), 0.2, 0.9)
    side = rays(rng.uniform(0, TURN) + rng.normal(0, 0.5, 14))
    tips = side * rng.uniform(1.0, 1.25, (14, 1))
    paths = [frame.arc(0.7 * root, tip, 0) for root, tip in zip(side, tips, strict=True)]
    streaks = soft(strokes(paths, [4] * 14), 1)
    net = network(rng, rng.uniform(0.022, 0.03))
    return Lesion(
        melanin=inside * (0.5 + rng.uniform(0.8, 1.1) * blotches + 0.25 * net) + 0.4 * streaks * (1 - inside),
        blood=inside * 0.4 * step(smooth_noise(rng, 0.8 * frame.radius, 2), 0, 1.4),
        deep=0.7 * veil,
        keratin=0.25 * veil,
    )


def nevus(rng: Generator, frame: Frame) -> Lesion:
    """Round or oval, even brown with a darker middle, a fading edge and a regular network or globules."""
    depth = frame.depth(rng, 0.04, 0.03)
    inside = step(depth, -0.15, 0.2)
    texture = network(rng, rng.uniform(0.02, 0.032))
    if rng.random() < 0.4:
        texture = 1 - texture  # globules: the network's meshes filled instead of its lines
    shade = 0.6 + 0.6 * np.clip(depth, 0, 1) + 0.1 * smooth_noise(rng, 0.06, 2)
    return Lesion(
        melanin=rng.uniform(0.6, 0.95) * inside * shade * (0.75 + 0.4 * texture),
        blood=rng.uniform(0, 0.15) * inside,
    )


def pigmented_benign_keratosis(rng: Generator, frame: Frame) -> Lesion:
    """A flat tan map: moth-eaten islands with sharp coasts and fingerprint lines, no darker in its middle."""
    plateau = np.minimum(frame.depth(rng, 0.12, 0.1), 0.5)
    inside = step(plateau + 0.3 * smooth_noise(rng, 0.4 * frame.radius, 4), 0.04, 0.24)
    shade = 0.75 + 0.3 * ridges(rng, 0.02) + 0.2 * smooth_noise(rng, 0.08, 3)
    return Lesion(
        melanin=rng.uniform(0.35, 0.6) * inside * shade,
        blood=rng.uniform(0, 0.12) * inside,
    )


def seborrheic_keratosis(rng: Generator, frame: Frame) -> Lesion:
    """Stuck on: a sharp border with a dark rim, brain-like ridges, white cysts and dark plugs."""
    depth = frame.depth(rng, 0.06, 0.05)
    inside = step(depth, -0.03, 0.06)
    rim = step(depth, 0.35, 0.05)
    cysts, plugs = int(rng.integers(8, 20)), int(rng.integers(5, 14))
    white = soft(frame.discs(scatter(rng, cysts, 0.8), rng.uniform(0.02, 0.06, cysts)), 1)
    dark = ragged(rng, frame.discs(scatter(rng, plugs, 0.8), rng.uniform(0.04, 0.09, plugs)), 1.5)
    furrows = ridges(rng, rng.uniform(0.03, 0.05))
    return Lesion(
        melanin=inside * (rng.uniform(0.35, 0.5) + 0.2 * furrows + 0.6 * rim + 0.8 * dark),
        blood=rng.uniform(0, 0.12) * inside,
        deep=rng.uniform(0.15, 0.3) * inside,
        keratin=inside * (0.15 + 0.5 * white),
    )


def squamous_cell_carcinoma(rng: Generator, frame: Frame) -> Lesion:
    """A ragged red mound crowned by yellow-white keratin with crusts of blood, vessels pointing to it."""
    depth = frame.depth(rng, 0.1, 0.1)
    mound = step(depth, -0.15, 0.25)
    crown = step(depth + 0.12 * smooth_noise(rng, 0.08, 4), 0.4, 0.7)
    crusts = ragged(rng, frame.discs(scatter(rng, 5, 0.4), rng.uniform(0.05, 0.16, 5)), 2)
    count = int(rng.integers(24, 40))
    hairpins = rays(rng.uniform(0, TURN, count))
    inner, outer = rng.uniform(0.45, 0.6, (count, 1)), rng.uniform(0.8, 1.05, (count, 1))
    ends = zip(inner * hairpins, outer * hairpins, strict=True)
    vessels = soft(strokes([frame.arc(*pair, rng.normal(0, 0.12)) for pair in ends], [3] * count), 0.6)
    flakes = 0.9 + 0.15 * smooth_noise(rng, 0.03, 2)
    return Lesion(
        melanin=0.4 * crusts,
        blood=mound * (rng.uniform(0.5, 0.75) * (1 - 0.5 * crown) + 0.4 * vessels) + 0.8 * crusts,
        keratin=rng.uniform(0.6, 0.8) * crown * flakes * (1 - 0.9 * crusts),
    )


def vascular_lesion(rng: Generator, frame: Frame) -> Lesion:
    """A tight cluster of round red to purple lagoons with pale walls between them."""
    count = int(rng.integers(7, 15))
    seeds = np.arange(float(count))  # packed as in a sunflower's head
    where = np.sqrt(seeds / count)[:, None] * rays(seeds * GOLDEN_ANGLE) + rng.normal(0, 0.08, (count, 2))
    lagoons = ragged(rng, frame.discs(where, rng.uniform(0.65, 1.0, count) / math.sqrt(count)), 2)
    bed = step(frame.depth(rng, 0.08, 0.08), -0.3, 0.1)
    shade = np.clip(1 + 0.25 * smooth_noise(rng, 0.08, 2), 0.4, 1.6)
    return Lesion(
        blood=shade * (0.3 * bed + rng.uniform(0.9, 1.3) * lagoons),
        deep=shade * (rng.uniform(0, 0.6) * lagoons),
        keratin=0.12 * bed * (1 - lagoons),
    )


def _branching_vessels(rng: Generator, frame: Frame) -> Image.Image:
    """A stencil of trees of vessels that enter at the border and fork three times."""
    paths, widths = [], []
    for turn in rng.uniform(0, TURN, int(rng.integers(2, 5))):
        heading = turn + math.pi + rng.normal(0, 0.3)
        tips = [(rays(np.array([turn]))[0], heading)]
        for width in (4.0, 3.0, 2.0, 1.5):
            forks = []
            for start, heading in tips:
                end = start + rng.uniform(0.3, 0.5) * rays(np.array([heading]))[0]
                paths.append(frame.arc(start, end, rng.normal(0, 0.12)))
                widths.append(width)
                forks += [(end, heading + spread) for spread in rng.normal((-0.5, 0.5), 0.2)]
            tips = forks
    return strokes(paths, widths)


class Kind(NamedTuple):
    """How one kind of lesion is drawn, how large it is (mean radius) and how round (short axis over long)."""

    draw: Callable[[Generator, Frame], Lesion]
    radius: tuple[float, float]
    roundness: tuple[float, float]


KINDS: dict[str, Kind] = {
    "actinic keratosis": Kind(actinic_keratosis, (0.3, 0.42), (0.7, 1.0)),
    "basal cell carcinoma": Kind(basal_cell_carcinoma, (0.2, 0.3), (0.75, 1.0)),
    "dermatofibroma": Kind(dermatofibroma, (0.2, 0.3), (0.8, 1.0)),
    "melanoma": Kind(melanoma, (0.22, 0.36), (0.6, 0.85)),
    "nevus": Kind(nevus, (0.13, 0.24), (0.75, 1.0)),
    "pigmented benign keratosis": Kind(pigmented_benign_keratosis, (0.26, 0.4), (0.65, 1.0)),
    "seborrheic keratosis": Kind(seborrheic_keratosis, (0.2, 0.34), (0.65, 0.9)),
    "squamous cell carcinoma": Kind(squamous_cell_carcinoma, (0.22, 0.34), (0.75, 1.0)),
    "vascular lesion": Kind(vascular_lesion, (0.11, 0.2), (0.7, 1.0)),
}
