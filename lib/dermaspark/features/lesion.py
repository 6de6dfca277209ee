"""Where the lesion is in a photograph and what its outline measures."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dermaspark.features.planes import RADIUS, SIDE, smooth

Mask = NDArray[np.bool_]
Planes = NDArray[np.float32]

MIN_PIXELS = 60  # a smaller region says nothing: a fixed one takes its place
LEAST_CONTRAST = 1.0  # of lightness, on its scale of 100: below it a photograph is blank
CENTRE: Mask = RADIUS < 0.35  # a disc, where there is no lesion to be found
CENTRAL = np.exp(-2 * RADIUS**2)  # what a pixel counts for, where a piece is to be central
REFLECTED_SIDE = 48  # pixels a side of the lesion when it is turned to its axes
SECTORS = 32  # of the outline's profile


def find(lightness: Planes) -> Mask:
    """The lesion: the darker part by Otsu's threshold (1979), its most central piece, holes filled.

    lightness: float32 (SIDE, SIDE). Without a usable piece, CENTRE. bool (SIDE, SIDE).
    """
    soft = smooth(lightness, 2.5)
    if np.ptp(soft) < LEAST_CONTRAST:
        return CENTRE
    dark = (soft < _otsu(soft[RADIUS < 1.1])) & (RADIUS < 1.25)
    pieces, count = ndimage.label(dark)
    if count:
        weights = ndimage.sum_labels(CENTRAL, pieces, np.arange(1, count + 1))
        piece: Mask = ndimage.binary_fill_holes(pieces == 1 + int(np.argmax(weights)))
        if piece.sum() >= MIN_PIXELS:
            return piece
    return CENTRE


def regions(lesion: Mask) -> tuple[Mask, Mask, Mask]:
    """Lesion, skin around it and the band across its border, each with at least MIN_PIXELS pixels."""
    from_lesion = ndimage.distance_transform_cdt(~lesion, "taxicab")
    within = ndimage.distance_transform_cdt(np.pad(lesion, 1), "taxicab")[1:-1, 1:-1]
    skin = from_lesion > 3
    band = (from_lesion <= 5) & (within <= 5)
    return lesion, skin if skin.sum() >= MIN_PIXELS else RADIUS > 0.9, band


def outline(lesion: Mask, lab: Planes) -> NDArray[np.float32]:
    """Size, border, asymmetry and profile of a lesion: what dermatoscopy's ABCD rule asks of its outline.

    lesion: bool (SIDE, SIDE); lab: float32 (3, SIDE, SIDE). float32 (n,).
    """
    area = float(lesion.sum())
    rows, columns = np.nonzero(lesion)
    centre = np.array([rows.mean(), columns.mean()])
    offsets = np.stack([rows, columns]) - centre[:, None]
    variances, axes = np.linalg.eigh(offsets @ offsets.T / area)
    minor, major = np.sqrt(np.maximum(variances, 0.1))
    perimeter = float((lesion & ~ndimage.binary_erosion(lesion)).sum())
    touching = lesion[0].sum() + lesion[-1].sum() + lesion[:, 0].sum() + lesion[:, -1].sum()
    size = [
        area / SIDE**2,
        np.log(area / SIDE**2),
        perimeter / np.sqrt(area),
        perimeter**2 / area,
        minor / major,
        np.hypot(*(centre - (SIDE - 1) / 2)) / SIDE,
        _inradius(lesion, rows, columns) / np.sqrt(area),
        area / (4 * np.pi * minor * major),
        touching / (4 * SIDE),
    ]
    asymmetry = _asymmetry(lesion, lab, centre, axes, 1.1 * float(major))
    return np.concatenate([size, asymmetry, _profile(offsets / np.sqrt(area))]).astype(np.float32)


def _inradius(lesion: Mask, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> float:
    """Of the largest circle within a lesion, in pixels; what lies beyond the photograph's edge counts as lesion."""
    box = np.s_[max(rows.min() - 1, 0) : rows.max() + 2, max(columns.min() - 1, 0) : columns.max() + 2]
    return float(ndimage.distance_transform_edt(lesion[box]).max())


def _otsu(values: NDArray[np.float32]) -> float:
    """The threshold that separates two groups of values best (Otsu 1979)."""
    counts, edges = np.histogram(values, 128)
    weight = np.cumsum(counts / counts.sum())
    mean = np.cumsum(counts / counts.sum() * (edges[1:] + edges[:-1]) / 2)
    between = (mean[-1] * weight - mean) ** 2 / np.maximum(weight * (1 - weight), 1e-9)
    return float(edges[1 + int(np.argmax(between))])


def _asymmetry(
    lesion: Mask, lab: Planes, centre: NDArray[np.float64], axes: NDArray[np.float64], reach: float
) -> NDArray[np.float64]:
    """How outline and colour differ from their reflections in the lesion's two axes and its centre.

    Least, greatest and mean of the three reflections, for the outline and for L, a and b.
    """
    steps = np.linspace(-1, 1, REFLECTED_SIDE) * 2 * reach
    along, across = np.meshgrid(steps, steps)
    places = centre[:, None, None] + axes[:, 1, None, None] * along + axes[:, 0, None, None] * across
    planes = (lesion.astype(np.float32), *lab)
    turned = np.stack([ndimage.map_coordinates(p, places, order=1, mode="nearest") for p in planes])
    inside, colours = turned[0] > 0.5, turned[1:]
    differences = []
    for flip in (np.s_[::-1, :], np.s_[:, ::-1], np.s_[::-1, ::-1]):
        both = inside & inside[flip]
        apart = np.abs(colours - colours[(slice(None), *flip)])[:, both].sum(1) / max(both.sum(), 1)
        differences.append([(inside ^ inside[flip]).sum() / max(inside.sum(), 1), *apart])
    table = np.array(differences)
    return np.concatenate([table.min(0), table.max(0), table.mean(0)])


def _profile(offsets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Farthest reach in each of SECTORS directions: its spread and the strength of its first waves.

    offsets: float64 (2, pixels) from the centre, in units of the square root of the area.
    """
    angle = np.arctan2(offsets[0], offsets[1])
    sector = np.floor((angle + np.pi) / (2 * np.pi) * SECTORS).astype(int) % SECTORS
    reach = np.zeros(SECTORS)
    np.maximum.at(reach, sector, np.hypot(*offsets))
    waves = np.abs(np.fft.rfft(reach))[1:9] / SECTORS
    return np.array([reach.std(), reach.max(), reach.min(), *waves])
