"""Draws what a prediction goes by: the photograph, the places that speak for its class, and the probabilities.

    python scripts/explain.py MODEL PHOTO OUT.png [CLASS]

MODEL is a bundle, PHOTO a photograph (paths or URLs). Without CLASS, the likeliest one is explained. For research
only: the map says what this model goes by, not what a lesion is.
"""

import argparse
import io
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

from dermaspark import bundle, scoring, storage
from dermaspark.cleaning import clean
from dermaspark.dataset import digest
from dermaspark.errors import UserError
from dermaspark.explanation import occlusion
from dermaspark.photo import decode
from dermaspark.photo_file import Unreadable

INK, MUTED, ACCENT = "#1d2327", "#68727a", "#1f6f8b"
FOR_AND_AGAINST = "RdBu_r"  # red speaks for the class, blue against it
STRONGEST = 0.75  # opacity of the map over the photograph
LEAST_SPAN = 0.05  # of the log-probability: smaller drops than it are drawn faint
PANELS = ((0.015, 0.1, 0.28, 0.8), (0.315, 0.1, 0.28, 0.8), (0.77, 0.15, 0.17, 0.75))  # left, bottom, width, height
STYLE = {"font.size": 9, "text.color": INK, "axes.labelcolor": MUTED, "xtick.color": MUTED, "ytick.color": INK}
NOTE = "Red: hiding it makes the class less likely; blue: more likely. For research only; not for diagnosis."


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, text in (("model", "a bundle"), ("photo", "a photograph"), ("out", "the PNG to write")):
        parser.add_argument(name, help=text)
    parser.add_argument("class_name", nargs="?", help="the class to explain; by default the likeliest one")
    given = parser.parse_args(arguments)
    try:
        explain(given.model, given.photo, given.out, given.class_name)
    except UserError as error:
        print(f"explain: {error}", file=sys.stderr)
        return 2
    return 0


def explain(model: str, photo: str, out: str, class_name: str | None = None) -> None:
    """Write the picture; raises UserError for a class, a photograph or a bundle that is none."""
    model_url, photo_url = storage.resolve(model), storage.resolve(photo)
    document = bundle.read_document(model_url)
    classes, spec = document["classes"], document["preprocessing"]
    if class_name is not None and class_name not in classes:
        raise UserError(f"{class_name}: no class of the model; it has {', '.join(classes)}")
    try:
        image = clean(decode(storage.read_bytes(photo_url), spec["height"], spec["width"], spec["max_pixels"]), spec)
    except OSError as error:
        raise UserError(f"{photo_url}: can't be read ({error.strerror or error})") from error
    except Unreadable as error:
        raise UserError(f"{photo_url}: {error.reason}") from error
    score = scoring.loaded(model_url, digest(document)).probabilities
    probabilities = score(image[None])[0]
    which = int(probabilities.argmax()) if class_name is None else classes.index(class_name)
    drops = occlusion(score, image, which)
    with storage.writing_to(out):
        storage.write_bytes(storage.resolve(out), draw(image, drops, probabilities, classes, which))
    print(f"{classes[which]} {probabilities[which]:.3f}, explained in {out}")


@mpl.rc_context(STYLE)
def draw(image: np.ndarray, drops: np.ndarray, probabilities: np.ndarray, classes: list[str], which: int) -> bytes:
    """A PNG of the photograph, the map over it, and the probabilities, likeliest first."""
    figure = Figure(figsize=(12, 4), dpi=144, facecolor="white")
    FigureCanvasAgg(figure)
    left, middle, right = (figure.add_axes(place) for place in PANELS)
    picture(left, image, "the photograph, as the model sees it")
    picture(middle, image, f"what speaks for {classes[which]}")
    span = max(float(np.abs(drops).max()), LEAST_SPAN)
    opacity = STRONGEST * np.abs(drops) / span
    middle.imshow(drops, cmap=FOR_AND_AGAINST, vmin=-span, vmax=span, alpha=opacity)
    order = np.argsort(probabilities)
    colours = [ACCENT if k == which else "#c3ccd1" for k in order]
    right.barh(range(len(order)), probabilities[order], color=colours, height=0.62)
    right.set_yticks(range(len(order)), [classes[k] for k in order])
    for place, k in enumerate(order):
        right.text(probabilities[k] + 0.02, place, f"{probabilities[k]:.3f}", va="center", color=MUTED)
    right.set(xlim=(0, 1), xticks=[0, 0.5, 1])
    right.set_title("probability", loc="left", fontsize=10)
    right.spines[:].set_visible(False)
    right.tick_params(length=0)
    figure.text(0.015, 0.02, NOTE, color=MUTED)
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def picture(axes: Axes, image: np.ndarray, title: str) -> None:
    axes.imshow(image)
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_axis_off()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
