"""The report: one HTML page that holds all it shows, made from a metrics document and the curves beside it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from dermaspark import charts
from dermaspark.summary import headline_split, short_names, shown

TITLES = {
    "train": "training",
    "val": "validation",
    "test": "test",
    "out_of_fold": "out of fold",
    "outside": "outside test",
}
LABELS = {
    "n": "n",
    "accuracy": "accuracy",
    "accuracy_ci95": "95% interval",
    "balanced_accuracy": "balanced",
    "macro_auc": "macro AUC",
    "log_loss": "log loss",
    "brier": "Brier",
    "ece": "ECE",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "precision": "precision",
    "f1": "F1",
    "auc": "AUC",
    "average_precision": "av. precision",
}
COUNTS = {
    "found": "found",
    "train": "for training",
    "val": "for validation",
    "test": "for test",
    "left_out": "left out by policy",
    "unreadable": "set aside as unreadable",
}


def page(
    document: Mapping[str, Any],
    curves: Mapping[str, Mapping[str, Any]],
    history: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The page; every text in it that came from folders, tables or settings is escaped.

    document: as metrics.json holds it. dataset may have `counts` (photographs, by what became of them) and
    `sources`; what it, model and protocol hold beside that is listed as it is.
    curves: by split, as `metrics.curves` gives them.
    history: of each epoch, loss, accuracy, val_loss, val_accuracy and learning_rate, as far as known.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"figure": shown, "percent": percent, "thousands": thousands}
    source = resources.files("dermaspark").joinpath("templates", "report.html.j2").read_text("utf-8")
    split = headline_split(document)
    return environment.from_string(source).render(
        document=document,
        split=split,
        of=document["splits"][split] if split else None,
        codes=dict(zip(document["classes"], short_names(document["classes"]), strict=True)),
        titles=TITLES,
        counts=_counts(document["dataset"]),
        training=document["splits"].get("train"),
        facts={name: _facts(document[name]) for name in ("dataset", "model", "protocol")},
        pictures=_pictures(document, curves, history, split),
        created=f"{datetime.fromisoformat(document['created']):%-d %B %Y, %H:%M %Z}",
        labels=LABELS,
    )


def _pictures(
    document: Mapping[str, Any],
    curves: Mapping[str, Mapping[str, Any]],
    history: Sequence[Mapping[str, Any]],
    split: str | None,
) -> dict[str, Markup]:
    """The SVG of each picture that there is something to draw for."""
    found: dict[str, str] = {}
    for key in ("loss", "accuracy"):
        if any(epoch.get(key) is not None for epoch in history):
            found[key] = charts.learning(history, key)
    if split is not None:
        figures, drawn, classes = document["splits"][split], curves[split], document["classes"]
        aucs = {name: of["auc"] for name, of in figures["per_class"].items()}
        found["confusion"] = charts.confusion(figures["confusion_matrix"], classes)
        found["sensitivities"] = charts.sensitivities(figures["confusion_matrix"], classes)
        found["reliability"] = charts.reliability(drawn["reliability"])
        found["risk_coverage"] = charts.risk_coverage(**drawn["risk_coverage"])
        if drawn["roc"]:
            found["roc"] = charts.roc(drawn["roc"], aucs)
    return {name: Markup(svg) for name, svg in found.items()}


def _counts(dataset: Mapping[str, Any]) -> list[tuple[str, int]]:
    """What became of the photographs, in the order of the work; none where the document does not say."""
    counts = dataset.get("counts", {})
    order = [*COUNTS, *(key for key in counts if key not in COUNTS)]
    return [(COUNTS.get(key, _words(key)), counts[key]) for key in order if key in counts]


def _facts(section: Any) -> list[tuple[str, str]]:
    """A section of the document as lines of a name and a text; a text alone has no name."""
    if not isinstance(section, Mapping):
        return [("", str(section))] if section else []
    return [(_words(key), text) for key, value in section.items() if key != "counts" and (text := _text(value))]


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{_words(key)} {text}" for key, of in value.items() if (text := _text(of)))
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value))
    return "" if value is None else f"{value:,}" if type(value) is int else str(value)


def _words(key: str) -> str:
    return key.replace("_", " ")


def percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def thousands(value: int) -> str:
    return f"{value:,}"
