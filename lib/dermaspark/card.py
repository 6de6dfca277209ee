"""The model card's words: the limits of a model, and what the reporting guidelines ask for and where it is answered."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from dermaspark.provenance import is_naive, is_of_another_dataset, leaks_are_kept, lesions_are_known

YES, PARTLY, NO = "yes", "in part", "no"


class Item(NamedTuple):
    """A thing that a reader may ask for.

    Items are numbered as in TRIPOD+AI (Collins et al., BMJ 2024;385:e078378) and in CLAIM (Tejani et al.,
    Radiology: Artificial Intelligence 2024;6(4):e240300).
    """

    asked: str
    tripod: str
    claim: str
    answered: str  # YES, PARTLY or NO
    where: str


def can_refuse(document: Mapping[str, Any]) -> bool:
    """Whether `predict` refuses what is not like the training photographs: then the refused are counted."""
    return any(of.get("refused") for of in document["splits"].values())


def limits(document: Mapping[str, Any]) -> list[str]:
    """What the figures do not say."""
    splits = document["splits"]
    found = ["Skin tone is not recorded with the photographs, so how well the model does on darker skin is not known."]
    if can_refuse(document):
        found.append("A gate refuses much of what is no photograph of a lesion, not all of it; a lesion of any other")
        found[-1] += " class passes it, and is given one of the classes above all the same."
    else:
        found.append("It knows the classes above and no other: a photograph of anything else is given one of them.")
    found += [
        "Figures hold for photographs like those they were measured on. Another camera, clinic or archive may "
        "differ, and a class that comes from one archive alone may be recognised by the archive.",
        "The share of each class here is that of the data set, not that of any clinic; predictive values do not carry "
        "over.",
        "The labels are the names of the folders, taken as given; how each lesion was diagnosed is not known here.",
    ]
    if lesions_are_known(document):
        found.append("Wilson's intervals count photographs as independent; those by lesion do not.")
    else:
        found.append("Which photographs are of one lesion is not known: intervals are too narrow where several are.")
    if "outside" not in splits:
        found.append("It was not tested on photographs from outside its own sources in this report.")
    return found


def checklist(document: Mapping[str, Any]) -> list[Item]:
    """What TRIPOD+AI and CLAIM ask for, and where this report or the files beside it answer."""
    return [*_on_the_study(document), *_on_the_data(document), *_on_the_model(document), *_on_the_results(document)]


def _on_the_study(document: Mapping[str, Any]) -> list[Item]:
    return [
        Item("Title and abstract that name model, people and outcome", "1, 2", "1, 2", NO, "for a paper to give"),
        Item("Background, intended use and users", "3a, 3b", "3, 41", YES, "Model card, intended use: research alone"),
        Item("Objectives, design, registration, protocol", "4, 18c, 18d", "4-6, 34, 42", NO, "the study's own"),
        Item("Ethics, funding, interests, patients' part", "17, 18a, 18b, 19", "44", NO, "the study's own"),
        Item("Data, code and model to be had", "18e, 18f", "43", PARTLY, "code and bundle; photographs: their archive"),
    ]


def _on_the_data(document: Mapping[str, Any]) -> list[Item]:
    answer, partitions = YES, "What the figures rest on: by group"
    if is_naive(document):
        answer, partitions = NO, "the naive protocol: they may overlap"
    elif leaks_are_kept(document):
        answer, partitions = NO, "training photographs that share a group with test photographs are kept"
    elif is_of_another_dataset(document):
        answer, partitions = PARTLY, "the model is of another dataset; overlap with it was not looked for"
    elif "outside" in document["splits"]:
        answer, partitions = PARTLY, "photographs of no dataset; overlap with training was not looked for"
    return [
        Item(
            "Sources, setting, dates, acquisition",
            "5a, 5b, 6a",
            "7, 13",
            PARTLY,
            "the sources, by name and place; no more",
        ),
        Item(
            "Who is in and who is out, in numbers",
            "6b, 20a",
            "8, 10, 35",
            YES,
            "What the figures rest on; tables unreadable and left_out of the dataset",
        ),
        Item("Preparation and quality of the data", "7", "9", YES, "preprocessing in bundle.json; jobs/audit.py"),
        Item("De-identification", "-", "11", NO, "not known of the photographs"),
        Item("Missing data", "11", "12", YES, "unreadable files counted; gaps in the table are 'unknown'"),
        Item("Outcome: how, by whom, how reliably", "8a-8c", "14-18", NO, "labels are the folders' names"),
        Item("Predictors", "9a-9c", "22", YES, "the pixels, or numbers computed of them; bundle.json"),
        Item("Sample size", "10", "21", PARTLY, "n and interval beside each figure; none planned ahead"),
        Item(
            "Partitions, and at which level disjoint",
            "12a",
            "19, 20",
            answer,
            partitions,
        ),
        Item(
            "Cases in each part, and how parts differ",
            "16, 20b, 20c",
            "36",
            PARTLY,
            "counts by split and class, manifest.json",
        ),
    ]


def _on_the_model(document: Mapping[str, Any]) -> list[Item]:
    model = document["model"] if isinstance(document["model"], Mapping) else {}
    calibrated = (model.get("calibration") or {}).get("rows")  # validation photographs that it was fitted on
    kept = (
        "temperature, shifts and thresholds in bundle.json"
        if calibrated
        else "probabilities of all classes; no threshold"
    )
    return [
        Item(
            "Model, training, choice, ensembling",
            "12b, 12c, 12g, 21, 22",
            "22, 24-27",
            YES,
            "Model card; bundle.json and the Keras model beside it, its history too",
        ),
        Item("Software", "18f", "23", YES, "requirements.lock of the code"),
        Item("Class imbalance", "13", "-", YES, "figures at the training and at a uniform prior"),
        Item("Output of the model, thresholds", "15", "22", YES if calibrated else PARTLY, kept),
        Item("Updating", "12f, 24", "-", YES, "none was done"),
        Item("Explanations", "-", "31", PARTLY, "scripts/explain.py draws one for a photograph; not validated"),
    ]


def _on_the_results(document: Mapping[str, Any]) -> list[Item]:
    splits = document["splits"]
    columns = {name for of in splits.values() for name in of["by"]} - {"source"}
    sources = any(len(of["by"].get("source", ())) > 1 for of in splits.values())
    outside, inside = "outside" in splits, bool({"test", "out_of_fold"} & splits.keys())
    gate = can_refuse(document)
    return [
        Item(
            "Discrimination and calibration, with uncertainty",
            "12e, 23a",
            "28, 29, 37, 38",
            YES,
            "first table; By class; How far to trust a prediction",
        ),
        Item(
            "Differences between places and groups",
            "12d, 23b",
            "30",
            YES if sources else NO,
            "By source and group" if sources else "one source alone",
        ),
        Item(
            "Fairness",
            "3c, 14",
            "36",
            PARTLY if columns else NO,
            "By source and group; skin tone is not recorded" if columns else "nothing is known of the people",
        ),
        Item(
            "Test on internal data",
            "12c",
            "32",
            YES if inside else NO,
            "What the figures rest on" if inside else "not in this report: jobs/evaluate.py with data.path",
        ),
        Item(
            "Test on external data",
            "16",
            "33",
            YES if outside else NO,
            "Outside test" if outside else "not in this report: jobs/evaluate.py with labels.map",
        ),
        Item("Analysis of failures", "-", "39", YES, "Confident mistakes; confusion matrix"),
        Item("Interpretation and limitations", "25, 26", "40", PARTLY, "Limits; what they mean is the study's to say"),
        Item(
            "Use: poor input, users, next steps",
            "27a-27c",
            "41",
            PARTLY if gate else NO,
            f"{'the gate refuses what is not like the training photographs; ' * gate}not for use on anyone",
        ),
    ]
