"""Owns what lesions and skin are drawn with: the picture's grid, fields over it, stencils and points.

Lengths in a picture are in picture heights, from its middle.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

WIDTH, HEIGHT = 600, 450  # pixels of a photograph
ROWS, COLUMNS = HEIGHT // 2, WIDTH // 2  # of a field: drawn at half size, four times as fast
ASPECT = WIDTH / HEIGHT
TURN = 2 * math.pi

Field = NDArray[np.float32]  # (ROWS, COLUMNS): one number a pixel at half size
Points = NDArray[np.float64]  # (n, 2): x to the right, y down

GRID_Y, GRID_X = np.meshgrid(
    np.linspace(-0.5, 0.5, ROWS, dtype=np.float32),
    np.linspace(-ASPECT / 2, ASPECT / 2, COLUMNS, dtype=np.float32),
    indexing="ij",
)


def smooth_noise(rng: Generator, cell: float, octaves: int = 1) -> Field:
    """Smooth noise of mean 0 and variance near 1, its features about `cell` picture heights wide.

    Each further octave has half the width and half the height of the one before.
    """
    total = np.zeros((ROWS, COLUMNS), np.float32)
    for octave in range(octaves):
        rows, columns = 2**octave / cell, 2**octave / cell * ASPECT
        knots = rng.standard_normal((int(rows) + 4, int(columns) + 4), np.float32)
        box = (1, 1, 1 + columns, 1 + rows)
        enlarged = Image.fromarray(knots).resize((COLUMNS, ROWS), Image.Resampling.BICUBIC, box=box)
        total += np.asarray(enlarged) * (1.5 * 0.5**octave)  # 1.5: the cubic takes half the knots' variance
    return total


def step(field: Field, low: float, high: float) -> Field:
    """0 below `low`, 1 above `high`, and a smooth rise between (falls when `low` is above `high`)."""
    share: Field = np.clip((field - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)


def network(rng: Generator, cell: float) -> Field:
    """Three crossed waves: a honeycomb from 0 (hole) to 1 (line), its meshes `cell` picture heights wide."""
    turn = rng.uniform(0, TURN)
    x = GRID_X + 0.35 * cell * smooth_noise(rng, 3 * cell)
    y = GRID_Y + 0.35 * cell * smooth_noise(rng, 3 * cell)
    crossed = np.zeros_like(x)
    for angle in (turn, turn + TURN / 3, turn - TURN / 3):
        crossed += np.cos(TURN / cell * (math.cos(angle) * x + math.sin(angle) * y))
    return step(crossed, 0.6, -1.2)


def ridges(rng: Generator, cell: float) -> Field:
    """Winding parallel ridges from 0 to 1, `cell` picture heights apart."""
    turn = rng.uniform(0, TURN)
    across = math.cos(turn) * GRID_X + math.sin(turn) * GRID_Y
    waves: Field = np.sin(TURN / cell * across + 2.2 * smooth_noise(rng, 3 * cell))
    return 0.5 + 0.5 * waves


def discs(centres: Points, radii: NDArray[np.float64]) -> Image.Image:
    """A stencil (mode L, WIDTH x HEIGHT) of filled circles."""
    stencil = Image.new("L", (WIDTH, HEIGHT))
    pen = ImageDraw.Draw(stencil)
    for (x, y), radius in zip(_pixels(centres), radii * HEIGHT, strict=True):
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return stencil


def strokes(paths: Sequence[Points], widths: Sequence[float]) -> Image.Image:
    """A stencil (mode L, WIDTH x HEIGHT) of lines along `paths`, `widths` in pixels."""
    stencil = Image.new("L", (WIDTH, HEIGHT))
    pen = ImageDraw.Draw(stencil)
    for path, width in zip(paths, widths, strict=True):
        pen.line(_pixels(path).ravel().tolist(), fill=255, width=max(1, round(width)), joint="curve")
    return stencil


def soft(stencil: Image.Image, blur: float) -> Field:
    """A stencil as numbers from 0 to 1, blurred by `blur` pixels of the half size."""
    blurred = stencil.reduce(2).filter(ImageFilter.GaussianBlur(blur))
    return np.asarray(blurred, np.float32) / np.float32(255)


def ragged(rng: Generator, stencil: Image.Image, blur: float) -> Field:
    """A stencil blurred, then cut off along a wavering line: grown shapes, not a compass's."""
    shape = soft(stencil, blur)
    return step(shape + 0.8 * shape * (1 - shape) * smooth_noise(rng, 0.03, 2), 0.2, 0.75)


def curve(start: Points, end: Points, bend: float) -> Points:
    """Nine points on an arc from one point to another, its middle `bend` lengths to the side."""
    along, way = np.linspace(0, 1, 9)[:, None], end - start
    path: Points = start + along * way + 4 * bend * along * (1 - along) * (way[::-1] * [-1, 1])
    return path


def rays(angles: NDArray[np.float64]) -> Points:
    """Points at distance 1 from the middle, at these angles."""
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def scatter(rng: Generator, count: int, outer: float, inner: float = 0.0) -> Points:
    """Points (count, 2) spread evenly over the disc of radius `outer`, outside that of radius `inner`."""
    distances = np.sqrt(rng.uniform(inner**2, outer**2, (count, 1)))
    return distances * rays(rng.uniform(0, TURN, count))


def _pixels(points: Points) -> Points:
    pixels: Points = (points + np.array([ASPECT / 2, 0.5])) * HEIGHT
    return pixels
