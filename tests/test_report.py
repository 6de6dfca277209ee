"""The page shows the document's figures and nothing else, and nothing in it comes from elsewhere or runs."""

import math
import re
import subprocess
import sys
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dermaspark import charts, report
from dermaspark.metrics import ALL, TRAINING, UNIFORM, Cell, Tally, curves, document, figures
from dermaspark.sums import SET_ASIDE, count

LIBRARY = Path(report.__file__).parent
HOSTILE = ["<script>alert(1)</script>", 'a" onload="alert(2)', "$x_1$ & co", "黑色素瘤", "nevus"]
HISTORY = [
    {"loss": 2.0, "val_loss": 2.1, "accuracy": 0.2, "val_accuracy": 0.19, "learning_rate": 1e-3},
    {"loss": 1.5, "val_loss": 1.9, "accuracy": 0.5, "val_accuracy": 0.4, "learning_rate": 1e-4},
]


class Page(HTMLParser):
    """What a browser would make of a page: tags, attributes, ids and visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def tally(classes: list[str], n: int = 300) -> Tally:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, len(classes), n)
    logits = rng.normal(size=(n, len(classes))) + 2 * np.eye(len(classes))[truth]
    sums = count(truth, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    places = [(ALL, ALL, TRAINING), (ALL, ALL, UNIFORM), ("source", classes[0], TRAINING), ("sex", "unknown", TRAINING)]
    found = {Cell(split, *place): figures(sums, classes) for split in ("train", "test") for place in places}
    aside = dict.fromkeys(SET_ASIDE, 0) | {"not scored": 3}
    drawn = {split: curves(sums, classes) for split in ("train", "test")}
    return Tally(tuple(classes), found, drawn, {"train": dict.fromkeys(SET_ASIDE, 0), "test": aside})


PICTURE = "data:image/png;base64,iVBORw0KGgo="


def mistakes(classes: list[str]) -> list[dict[str, Any]]:
    """Two, one of them without a picture."""
    wrong = {"id": f"s/Test/{classes[0]}/1.jpg", "label": classes[0], "predicted": classes[1], "probability": 0.973}
    return [wrong | {"picture": PICTURE}, wrong | {"picture": None}]


MALIGNANCY = ("sensitivity", "specificity", "auc", "specificity_at_95_sensitivity", "threshold_at_95_sensitivity")


def rich(found: dict[str, Any]) -> dict[str, Any]:
    """The document with all that it may have."""
    malignancy = {"classes": found["classes"][:1], "n_malignant": 100, "n_benign": 200, "sensitivity": 0.87}
    malignancy |= {"specificity": 0.615, "auc": 0.812, "specificity_at_95_sensitivity": 0.333}
    for of in found["splits"].values():
        of |= {"malignancy": malignancy | {"threshold_at_95_sensitivity": 0.143}, "macro_average_precision": 0.4567}
        intervals = {name: [0.111, 0.999] for name in of["per_class"]}
        of["clustered_ci95"] = {"accuracy": [0.1234, 0.8767], "sensitivity": intervals}
        of["abstaining"] = {"coverage": 0.61, "risk": 0.241, "missed_malignancies": 1, "accepted": 183, "n": 300}
        of["priors"]["given"] = of["priors"]["uniform"]
        of["importance"] = {"patches": {"accuracy_drop": 0.0345, "log_loss_rise": 0.2229}}
        of["refused"] = {"n": 97, "share": 97 / 300}
    found["abstaining"] = {"wanted_risk": 0.2, "threshold": 0.7125, "fitted_on": "val"}
    found["model"] |= {"calibration": {"temperature": 1.234, "rows": 282}}
    return found


def made(classes: list[str], n: int = 300, **sections: Any) -> tuple[dict[str, Any], Page]:
    """A document and its page."""
    of = tally(classes, n)
    about = {
        "dataset": {"counts": {"found": 618, "left_out": 7, "unreadable": 11}, "sources": {classes[0]: "file:/a"}},
        "model": {"network": classes[0], "training": {"epochs": 2}},
        "protocol": f"as published {classes[0]}",
        "created": "2026-01-31T23:59:00+00:00",
    }
    found = document(of, **(about | sections))
    return found, Page(report.page(found, of.curves, HISTORY, mistakes(classes)))


def test_the_page_shows_the_figures_of_the_document() -> None:
    found, page = made(["melanoma", "nevus", "vascular lesion"])
    test = found["splits"]["test"]
    shown = [f"{test['accuracy']:.1%}", f"{test['balanced_accuracy']:.1%}", f"{test['macro_auc']:.3f}"]
    shown += [f"{bound:.1%}" for bound in test["accuracy_ci95"]]
    shown += [f"{test['per_class']['nevus'][key]:.3f}" for key in ("sensitivity", "specificity", "average_precision")]
    shown += ["618", "left out by policy", "As published", "31 January 2026, 23:59 UTC", "not scored: 3"]
    shown += ["not a medical device", "Skin tone is not recorded", "triage"]
    for text in shown:
        assert text in page.text
    assert page.tags.count("svg") == 7


@pytest.mark.parametrize(
    ("rates", "cuts"),
    [([1e-3, 1e-3, 1e-4, 1e-4, 1e-5], 2), ([0.5 * (1 + math.cos(math.pi * k / 8)) for k in range(9)], 0), ([1e-3], 0)],
)
def test_a_learning_rate_that_stood_still_and_fell_was_cut_and_a_cosine_never_is(rates, cuts) -> None:
    drawn = charts.learning([HISTORY[0] | {"learning_rate": rate} for rate in rates], "loss")
    without = charts.learning([HISTORY[0] | {"learning_rate": 1.0} for _ in rates], "loss")
    dashes = "stroke-dasharray"
    assert drawn.count(dashes) - without.count(dashes) == cuts + (cuts > 0)  # and one in the legend


def test_names_from_folders_and_tables_stay_text() -> None:
    _, page = made(HOSTILE)
    assert "script" not in page.tags
    assert not {name for name, _ in page.attributes if name.startswith("on")}
    assert page.text.count("<script>alert(1)</script>") > 5
    for name in HOSTILE:
        assert name in page.text
    assert page.text.count("$x_1$ & co") >= 4  # in the pictures too, where it is no formula


def test_the_page_needs_no_network_and_nothing_beside_it() -> None:
    _, page = made(["melanoma", "nevus"])
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    references = [value for name, value in page.attributes if name in ("href", "src", "srcset", "xlink:href")]
    assert all(value and value.startswith(("#", PICTURE)) for value in references)
    [policy] = [value for name, value in page.attributes if name == "content" and "default-src" in (value or "")]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # so a browser would refuse more
    assert not re.search(r"url\((?!#)|@import", page.text)


def test_no_id_stands_twice_and_every_reference_has_its_target() -> None:
    _, page = made(HOSTILE)
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    targets = {value[1:] for name, value in page.attributes if name == "xlink:href" and value}
    targets |= {value[5:-1] for name, value in page.attributes if name == "clip-path" and value}
    assert targets
    assert targets <= set(ids)


def test_all_that_the_document_may_have_is_shown() -> None:
    of = tally(["melanoma", "nevus", "vascular lesion"])
    about: dict[str, Any] = {"dataset": {}, "model": {}, "protocol": "", "created": "2026-01-31T23:59:00+00:00"}
    bare = document(of, **about)
    for split in bare["splits"].values():
        del split["macro_average_precision"]  # as in the documents of earlier versions
    plain = Page(report.page(bare, of.curves, HISTORY)).text
    found = rich(document(of, **about))
    page = Page(report.page(found, of.curves, HISTORY, mistakes(found["classes"])))
    shown = ["by group 12.3% to 87.7%", "0.123\u20130.877", "macro AP", "0.457", "test, given prior", "0.87", "0.812"]
    shown += ["of 100 malignant found", "13 of 100 malignant ones were called benign", "33.3%", "0.143"]
    shown += [
        "temperature of 1.234 and shifted by class, fitted on 282 validation photographs",
        "below 0.713",
        "183 of 300",
        "61.0%",
        "24.1%",
    ]
    shown += ["1 malignant one is called benign", "24.1% at 61%", "would refuse 97 (32.3%)"]
    shown += ["patches", "0.035", "0.223"]
    text = " ".join(page.text.split())
    for one in shown:
        assert one in text, one
    for one in ("by group 1", "given prior", "temperature of", "gate", "mistakes\n"):
        assert one not in plain.split("Model card")[0], one


def test_confident_mistakes_are_pictured_with_truth_prediction_probability_and_id() -> None:
    found, page = made(HOSTILE)
    assert [value for name, value in page.attributes if name == "src"] == [PICTURE]
    assert "no picture" in page.text
    assert f"taken for {HOSTILE[1]}, 97.3%" in page.text
    assert f"s/Test/{HOSTILE[0]}/1.jpg" in page.text
    alts = [value for name, value in page.attributes if name == "alt"]
    assert alts == [f"{HOSTILE[0]}, taken for {HOSTILE[1]}"]
    assert "malignant, called benign" not in page.text
    of = tally(HOSTILE)
    assert Page(report.page(rich(found), of.curves, (), mistakes(HOSTILE))).text.count("malignant, called benign") == 2


@pytest.mark.parametrize(
    ("protocol", "model"),
    [("as published", {}), ({"policy": "as_published"}, {}), ({"policy": "drop"}, {"protocol": "as published"})],
)
def test_a_naive_protocol_is_marked_before_anything_else_is_said(protocol: Any, model: dict[str, Any]) -> None:
    _, page = made(["melanoma", "nevus"], protocol=protocol, model=model)
    assert "Naive protocol" in page.text.split("What the figures rest on")[0]
    _, page = made(["melanoma", "nevus"], protocol={"policy": "drop", "description": "leaks are left out"})
    assert "Naive" not in page.text


def test_an_outside_test_has_folders_for_rows_and_classes_for_columns() -> None:
    of = tally(["melanoma", "nevus", "vascular lesion"])
    found = document(of, dataset={}, model={}, protocol="", created="2026-01-31T23:59:00+00:00")
    test = found["splits"].pop("test")
    test |= {"rows": ["moles", "other things"], "columns": found["classes"], "confusion_matrix": [[1, 2, 3], [4, 5, 6]]}
    test["malignancy"] = {**dict.fromkeys(MALIGNANCY), "classes": ["melanoma"], "n_malignant": 9, "n_benign": 12}
    found["protocol"] = {"labels": {"moles": ["nevus"], "other things": ["melanoma"]}, "lesions": "not known"}
    test["per_class"] = dict(zip(test["rows"], list(test["per_class"].values())[:2], strict=True))
    found["splits"]["outside"] = test
    wrong = {"id": "a.jpg", "probability": 0.9, "picture": None}
    pairs = [("moles", "melanoma"), ("other things", "nevus"), ("other things", "vascular lesion")]
    mistakes = [wrong | {"label": label, "predicted": predicted} for label, predicted in pairs]
    page = Page(report.page(found, {"outside": of.curves["test"] | {"roc": {}}}, (), mistakes))
    assert "outside test accuracy" in page.text
    assert page.text.count("malignant, called benign") == 2
    assert page.text.count("other things") >= 3


def test_squares_are_blue_where_the_class_is_right_for_the_label() -> None:
    classes = ["melanoma", "nevus", "vascular lesion"]
    counts = [[5, 0, 2], [0, 7, 0]]
    drawn = charts.confusion(counts, {"MEL": ["melanoma", "vascular lesion"], "NV": ["nevus"]}, classes)
    by_name = charts.confusion(counts, {"melanoma": ["melanoma"], "nevus": ["nevus"]}, classes)
    assert (drawn.count("var(--accent)"), drawn.count("var(--second)")) == (3, 0)
    assert (by_name.count("var(--accent)"), by_name.count("var(--second)")) == (2, 1)


@pytest.mark.parametrize(
    ("protocol", "unit"),
    [
        ({"policy": "drop", "grouped_by": ["copies", "the groups table"]}, "lesion"),
        ({"policy": "drop", "grouped_by": ["copies", "near copies"]}, "group"),
        ({"policy": "as_published", "grouped_by": []}, "group"),
        ({"lesions": "the groups table"}, "lesion"),
        ({"lesions": "not known"}, "group"),
    ],
)
def test_intervals_are_by_lesion_only_where_lesions_are_known(protocol: dict[str, Any], unit: str) -> None:
    of = tally(["melanoma", "nevus"])
    about: dict[str, Any] = {"dataset": {}, "model": {}, "created": "2026-01-31T23:59:00+00:00"}
    page = Page(report.page(rich(document(of, **about, protocol=protocol)), of.curves, HISTORY))
    text = " ".join(page.text.split())
    assert f"by {unit} 12.3% to 87.7%" in text
    assert ("by lesion" in text) == (unit == "lesion")
    assert ("know of copies at most" in text) == ("is not known: intervals are too narrow" in text) == (unit == "group")


def test_pictures_take_the_colours_of_the_page() -> None:
    _, page = made(["melanoma", "nevus"])
    styles = " ".join(value or "" for name, value in page.attributes if name == "style")
    assert "var(--accent)" in styles
    assert not re.search(r"#[0-9a-f]{6}", styles)


def test_what_the_document_lacks_leaves_no_trace() -> None:
    of = tally(["melanoma", "nevus"])
    whole = {cell: value for cell, value in of.figures.items() if cell.column == ALL and cell.split == "test"}
    bare = Tally(of.classes, whole, {"test": of.curves["test"]}, {"test": of.set_aside["test"]})
    found = document(bare, dataset={}, model={}, protocol="", created="2026-01-31T23:59:00+00:00")
    page = Page(report.page(found, bare.curves))
    for heading in ("Learning curves", "By source and group", "left out by policy", "Training data", "None"):
        assert heading not in page.text


def test_a_report_on_no_photographs_is_still_a_report() -> None:
    found, page = made(["melanoma", "nevus"], n=0)
    assert found["splits"]["test"]["n"] == 0
    assert "No photograph was scored" in page.text
    assert "nan" not in page.text


@pytest.mark.parametrize("n", [1, 2, 14])
def test_a_handful_of_photographs_can_be_drawn(n: int) -> None:
    _, page = made(["melanoma", "nevus", "vascular lesion"], n=n)
    assert f"n = {n}" in page.text


def test_the_page_is_the_same_when_made_again() -> None:
    of = tally(HOSTILE)
    found = document(of, dataset={}, model={}, protocol="", created="2026-01-31T23:59:00+00:00")
    assert report.page(found, of.curves, HISTORY) == report.page(found, of.curves, HISTORY)


def test_the_page_can_be_made_from_a_zipped_library(tmp_path: Path) -> None:
    archive = tmp_path / "dermaspark.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in LIBRARY.rglob("*"):
            if path.suffix in (".py", ".j2"):
                file.write(path, Path("dermaspark") / path.relative_to(LIBRARY))
    code = (
        "from dermaspark import report\n"
        "document = dict(created='2026-01-31', dataset={}, model={}, protocol='', classes=[], splits={})\n"
        "print(report.__file__, 'DermaSpark report' in report.page(document, {}))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(archive)}, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == [str(archive / "dermaspark" / "report.py"), "True"]
