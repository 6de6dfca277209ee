"""What every picture of a page shares: its style, its axes, and SVG that takes colours and font from the page."""

import io
import re
import warnings
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Matplotlib draws in these colours; the page's own take their place, so that dark mode and print work.
COLOURS = {
    "ink": "#010101",
    "muted": "#020202",
    "grid": "#030303",
    "paper": "#040404",
    "accent": "#050505",
    "second": "#060606",
}
INK, MUTED, GRID, PAPER, ACCENT, SECOND = COLOURS.values()
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "dermaspark",  # the same picture has the same ids
    "font.size": 10,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "figure.facecolor": "none",
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.6,
}


def blank(width: float, height: float) -> Figure:
    """A figure without axes; its size in points."""
    figure = Figure(figsize=(width / 72, height / 72))
    FigureCanvasSVG(figure)
    return figure


def panel(width: float, height: float, *, left: float, top: float, right: float, bottom: float) -> tuple[Figure, Axes]:
    """A figure with one pair of axes; sizes and margins in points."""
    figure = blank(width, height)
    inner = (width - left - right) / width, (height - top - bottom) / height
    return figure, figure.add_axes((left / width, bottom / height, *inner))


def as_svg(figure: Figure, name: str) -> str:
    """The figure as a part of a page: in the page's colours and font, with ids that no other part has."""
    file = io.StringIO()
    with warnings.catch_warnings():
        # The page's font draws the text, so what Matplotlib's own font lacks is not missed.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r'^(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'^(<svg[^>]*?) height="[^"]*"', r"\1", svg))
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"font-family: [^;\"]*; ", "", svg)
    for colour, drawn in COLOURS.items():
        svg = svg.replace(drawn, f"var(--{colour})")
    return svg
