"""The pictures of a report, as SVG."""

import textwrap
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from dermaspark.drawing import ACCENT, GRID, INK, MUTED, PAPER, SECOND, STYLE, as_svg, blank, panel
from dermaspark.intervals import wilson
from dermaspark.summary import cut, short_names

WIDTH = 360  # of a picture, in points; a phone shows a point as a pixel or so
NAMES = 118  # of them, for class names at the left
DASHED = (0, (4, 3))
LEAST_RISK = 0.05  # that the axis of errors goes up to


@mpl.rc_context(STYLE)
def confusion(matrix: Sequence[Sequence[int]], right: Mapping[str, Collection[str]], columns: Sequence[str]) -> str:
    """Photographs by truth (rows) and predicted class (columns), shaded by their share of the row.

    right: the classes that are right for each row, in the order of the rows.
    """
    rows = list(right)
    counts, k = np.asarray(matrix), len(columns)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = max((WIDTH - NAMES - 2) / k, 17)
    figure, axes = panel(NAMES + 2 + side * k, 40 + side * len(rows), left=NAMES, top=38, right=2, bottom=2)
    digits = len(str(counts.max(initial=0)))
    for (row, column), n in np.ndenumerate(counts):
        share = shares[row, column]
        shade = ACCENT if columns[column] in right[rows[row]] else SECOND if n else MUTED
        square = (column + 0.03, row + 0.03)
        axes.add_patch(Rectangle(square, 0.94, 0.94, facecolor=shade, alpha=0.06 + 0.86 * share, linewidth=0))
        colour = PAPER if share > 0.62 else INK if n else MUTED
        size = min(10, side / max(2.0, 0.68 * digits))
        axes.text(column + 0.5, row + 0.5, str(n), ha="center", va="center", color=colour, fontsize=size)
    axes.set(xlim=(0, k), ylim=(len(rows), 0), xlabel="predicted")
    axes.xaxis.set_label_position("top")
    axes.xaxis.tick_top()
    axes.set_xticks(np.arange(k) + 0.5, short_names(columns), fontsize=min(9, side / 2.4))
    _name_rows(axes, rows, np.arange(len(rows)) + 0.5, size=min(10, side / 2))
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)
    return as_svg(figure, "confusion")


@mpl.rc_context(STYLE)
def sensitivities(per_class: Mapping[str, Mapping[str, Any]], clustered: Mapping[str, Any]) -> str:
    """The share of each class's photographs that was recognised, with its 95 % interval (Wilson) as a broad line.

    clustered: by class the interval [low, high] that knows of lesions, where there is one: a thin line.
    """
    names = list(per_class)
    figure, axes = panel(WIDTH, 40 + 25 * len(names), left=NAMES, top=4, right=44, bottom=36)
    for k, (name, of) in enumerate(per_class.items()):
        n, share = of["n"], of["sensitivity"]
        if share is not None and (interval := wilson(round(share * n), n)):
            axes.plot(interval, [k, k], color=ACCENT, alpha=0.35, linewidth=4, solid_capstyle="round")
            axes.plot([share], [k], "o", color=ACCENT, markersize=6, clip_on=False)
        if clustered.get(name):
            axes.plot(clustered[name], [k + 0.27] * 2, "|-", color=SECOND, linewidth=1.2, markersize=4, clip_on=False)
        axes.text(1.03, k, f"n {n}", va="center", color=MUTED, fontsize=9)
    axes.set(xlim=(0, 1), ylim=(len(names) - 0.5, -0.5), xlabel="sensitivity")
    _name_rows(axes, names, np.arange(len(names)), size=10)
    axes.grid(visible=False, axis="y")
    return as_svg(figure, "sensitivities")


@mpl.rc_context(STYLE)
def roc(curves: Mapping[str, Mapping[str, Sequence[float]]], aucs: Mapping[str, float | None]) -> str:
    """A small picture for each class: its sensitivity by the share of all others that are taken for it."""
    rows = -(-len(curves) // 3)
    height = 122 * rows + 16
    figure = blank(WIDTH, height)
    grid = figure.subplots(rows, 3, squeeze=False, sharex=True, sharey=True)
    figure.subplots_adjust(0.06, 34 / height, 0.985, 1 - 16 / height, 0.14, 0.24)
    for axes in grid.flat[len(curves) :]:
        axes.set_visible(False)
    for axes, (name, points) in zip(grid.flat, curves.items(), strict=False):
        rates = points["false_positive_rate"], points["true_positive_rate"]
        axes.plot([0, 1], [0, 1], color=GRID, linewidth=1)
        axes.fill_between(*rates, color=ACCENT, alpha=0.1, linewidth=0)
        axes.plot(*rates, color=ACCENT, linewidth=1.4)
        axes.set_title(cut(name, 26), fontsize=8, pad=3, loc="left")
        axes.text(0.96, 0.07, f"AUC {aucs[name]:.3f}", ha="right", fontsize=9)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.set_xticks([0, 0.5, 1], ["0", ".5", "1"], fontsize=8)
        axes.set_yticks([0, 0.5, 1], ["0", ".5", "1"], fontsize=8)
    figure.supxlabel("false positive rate", fontsize=10, color=MUTED, y=2 / height, va="bottom")
    return as_svg(figure, "roc")


@mpl.rc_context(STYLE)
def reliability(bins: Sequence[Mapping[str, float]]) -> str:
    """Accuracy by confidence in bins of equally many photographs, with 95 % intervals."""
    figure, axes = panel(WIDTH, 250, left=34, top=18, right=8, bottom=36)
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle=DASHED)
    for part in bins:
        if interval := wilson(round(part["accuracy"] * part["n"]), round(part["n"])):
            axes.plot([part["confidence"]] * 2, interval, color=ACCENT, alpha=0.3, linewidth=3)
    points = [part["confidence"] for part in bins], [part["accuracy"] for part in bins]
    axes.plot(*points, "o-", color=ACCENT, markersize=4.5, linewidth=1.2, clip_on=False)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="mean confidence of the bin")
    _say(axes, "accuracy")
    return as_svg(figure, "reliability")


@mpl.rc_context(STYLE)
def risk_coverage(coverage: Sequence[float], risk: Sequence[float], accepted: Mapping[str, Any] | None = None) -> str:
    """The error among the most confident photographs, by the share of photographs accepted.

    accepted: `coverage` and `risk` at the threshold below which the model abstains, where one was fitted;
    without it, 80 % is marked.
    """
    figure, axes = panel(WIDTH, 250, left=34, top=18, right=8, bottom=36)
    axes.plot(coverage, risk, color=ACCENT)
    axes.fill_between(coverage, risk, color=ACCENT, alpha=0.1, linewidth=0)
    k = int(np.argmin(np.abs(np.asarray(coverage) - 0.8)))
    marked = (coverage[k], risk[k])
    if accepted and accepted["risk"] is not None:
        marked = (accepted["coverage"], accepted["risk"])
        axes.axvline(marked[0], color=SECOND, linewidth=0.9, linestyle=DASHED)
    axes.plot(*marked, "o", color=ACCENT, markersize=5, clip_on=False)
    highest = min(1.0, max(LEAST_RISK, 1.2 * max(*risk, marked[1])))
    # Error rises with coverage: below the curve at the right, where there is room, or above it at the left.
    below = marked[0] < 0.75 and marked[1] > 0.15 * highest
    axes.annotate(
        f"{marked[1]:.1%} at {marked[0]:.0%}",
        marked,
        (7, -13) if below else (-6, 8),
        textcoords="offset points",
        ha="left" if below or marked[0] < 0.25 else "right",
    )
    axes.set(xlim=(0, 1), ylim=(0, highest), xlabel="share of photographs accepted")
    _say(axes, "error")
    return as_svg(figure, "risk")


@mpl.rc_context(STYLE)
def learning(history: Sequence[Mapping[str, Any]], key: str) -> str:
    """'loss' or 'accuracy' by epoch, in training and in validation, and where the learning rate was cut."""
    figure, axes = panel(WIDTH, 220, left=38, top=18, right=10, bottom=36)
    for name, colour, label in ((key, SECOND, "training"), (f"val_{key}", ACCENT, "validation")):
        line = np.array([epoch.get(name) for epoch in history], float)  # None becomes NaN: a gap
        if np.isfinite(line).any():
            axes.plot(np.arange(1, len(line) + 1), line, ".-", color=colour, label=label)
    rates = [epoch.get("learning_rate") or 0.0 for epoch in history]
    # A rate that had stood still was cut; a cosine's never does.
    threes = zip(rates, rates[1:], rates[2:], strict=False)
    cuts = [k + 2.5 for k, (before, old, new) in enumerate(threes) if before == old > new]
    for k, place in enumerate(cuts):
        label = "_again" if k else "learning rate cut"  # the underscore keeps it out of the legend
        axes.axvline(place, color=MUTED, linewidth=0.9, linestyle=DASHED, label=label)
    axes.legend(loc="lower right", bbox_to_anchor=(1.02, 0.955), ncols=3, handlelength=1.2, columnspacing=1.1)
    axes.set(xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _say(axes, key)
    return as_svg(figure, f"learning-{key}")


def _name_rows(axes: Axes, names: Sequence[str], places: Any, size: float) -> None:
    """Class names at the left, each in two lines at most."""
    lines = ["\n".join(textwrap.wrap(name, 21, max_lines=2, placeholder="…")) for name in names]
    axes.set_yticks(places, lines, color=INK, fontsize=size, linespacing=0.95)
    axes.tick_params(axis="y", pad=6)


def _say(axes: Axes, what: str) -> None:
    """Name the vertical axis above it, where that takes no width."""
    axes.text(0, 1.03, what, transform=axes.transAxes, color=MUTED)
