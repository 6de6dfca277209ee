"""The report: one HTML page that holds all it shows, made from a metrics document and the curves beside it."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from dermaspark import card, charts, provenance
from dermaspark.intervals import wilson
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
    "by_lesion": "by lesion",
    "range": "0 to 1",
    "balanced_accuracy": "balanced",
    "macro_auc": "macro AUC",
    "macro_average_precision": "macro AP",
    "malignant": "malignant",
    "malignant_found": "found",
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


def page(
    document: Mapping[str, Any],
    curves: Mapping[str, Mapping[str, Any]],
    history: Sequence[Mapping[str, Any]] = (),
    mistakes: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The page; every text in it that came from folders, tables or settings is escaped.

    document: as metrics.json holds it; what it may have and lacks leaves no trace. dataset may have `counts`
    (photographs, by what became of them), model `calibration`; what dataset, model and protocol hold
    beside what the page has words for is listed as it is.
    curves: by split, as `metrics.curves` gives them.
    history: of each epoch, loss, accuracy, val_loss, val_accuracy and learning_rate, as far as known.
    mistakes: of the headline split, as `mistakes.find` gives them.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"figure": shown, "percent": percent, "thousands": thousands}
    source = resources.files("dermaspark").joinpath("templates", "report.html.j2").read_text("utf-8")
    split = headline_split(document)
    of = document["splits"][split] if split else None
    right = _right(document, (of or {}).get("rows", document["classes"]))
    unit = "lesion" if provenance.lesions_are_known(document) else "group"
    return environment.from_string(source).render(
        document=document,
        split=split,
        of=of,
        codes=dict(zip(document["classes"], short_names(document["classes"]), strict=True)),
        titles=TITLES,
        naive=provenance.is_naive(document),
        steps=provenance.steps(document),
        remarks=provenance.remarks(document),
        clustered={"accuracy": None, "sensitivity": {}} | ((of or {}).get("clustered_ci95") or {}),
        malignancy=_malignancy(of.get("malignancy") if of else None),
        calibration=_section(document["model"], "calibration"),
        refused=(of or {}).get("refused"),
        mistakes=_marked(mistakes, right, of),
        training=document["splits"].get("train"),
        facts={
            "protocol": _facts(provenance.unsaid(document)),
            "dataset": _facts(document["dataset"]),
            "model": _facts(document["model"]),
        },
        limits=card.limits(document),
        checklist=card.checklist(document),
        pictures=_pictures(document, curves, history, split, right),
        created=f"{datetime.fromisoformat(document['created']):%-d %B %Y, %H:%M %Z}",
        labels=LABELS | {"by_lesion": f"by {unit}"},
        unit=unit,
        has=lambda key: any(each.get(key) for each in document["splits"].values()),
    )


def _section(parent: Any, name: str) -> Mapping[str, Any]:
    found = parent.get(name) if isinstance(parent, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _right(document: Mapping[str, Any], rows: Sequence[str]) -> dict[str, Collection[str]]:
    """The classes that are right for each row: what an outside test's table says, else the row's own."""
    said = _section(document["protocol"], "labels")
    return {name: said.get(name, [name]) for name in rows}


def _marked(
    mistakes: Sequence[Mapping[str, Any]], right: Mapping[str, Collection[str]], of: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """The mistakes, and whether each is a `missed` malignancy: a benign class where only malignant ones are right."""
    malignant = set(((of or {}).get("malignancy") or {}).get("classes", ()))

    def missed(one: Mapping[str, Any]) -> bool:
        wanted = set(right.get(one["label"], ()))
        return bool(wanted) and wanted <= malignant and one["predicted"] not in malignant

    return [{**one, "missed": missed(one)} for one in mistakes]


def _malignancy(of: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The figures of malignant against benign, and Wilson's intervals of the two shares."""
    if of is None:
        return None
    intervals = {}
    for name, n in (("sensitivity", of["n_malignant"]), ("specificity", of["n_benign"])):
        share = of[name]
        intervals[f"{name}_ci95"] = None if share is None else wilson(round(share * n), n)
    return {**of, **intervals}


def _pictures(
    document: Mapping[str, Any],
    curves: Mapping[str, Mapping[str, Any]],
    history: Sequence[Mapping[str, Any]],
    split: str | None,
    right: Mapping[str, Collection[str]],
) -> dict[str, Markup]:
    """The SVG of each picture that there is something to draw for."""
    found: dict[str, str] = {}
    for key in ("loss", "accuracy"):
        if any(epoch.get(key) is not None for epoch in history):
            found[key] = charts.learning(history, key)
    if split is not None:
        figures, drawn = document["splits"][split], curves[split]
        clustered = (figures.get("clustered_ci95") or {}).get("sensitivity", {})
        aucs = {name: of["auc"] for name, of in figures["per_class"].items()}
        found["confusion"] = charts.confusion(figures["confusion_matrix"], right, document["classes"])
        found["sensitivities"] = charts.sensitivities(figures["per_class"], clustered)
        found["reliability"] = charts.reliability(drawn["reliability"])
        found["risk_coverage"] = charts.risk_coverage(**drawn["risk_coverage"], accepted=figures.get("abstaining"))
        if drawn["roc"]:
            found["roc"] = charts.roc(drawn["roc"], aucs)
    return {name: Markup(svg) for name, svg in found.items()}


def _facts(section: Any) -> list[tuple[str, str]]:
    """A section of the document as lines of a name and a text; a text alone has no name."""
    if not isinstance(section, Mapping):
        return [("", str(section))] if section else []
    said = ("counts", "calibration")  # elsewhere on the page
    return [(_words(key), text) for key, value in section.items() if key not in said and (text := _text(value))]


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
