"""What the figures rest on adds up, and is said in words that fit it."""

from typing import Any

import pytest
from dermaspark.provenance import GONE, is_naive, remarks, steps, unsaid
from hypothesis import given
from hypothesis import strategies as st

COUNTS = {"found": 2357, "train": 1610, "val": 282, "test": 118, "left_out": 347, "unreadable": 0}
LEFT_OUT = {"its group has test photographs": 65, "its group stands under two labels": 282}
PROTOCOL = {
    "policy": "drop",
    "description": "some are left out",
    "grouped_by": ["copies", "near copies", "the groups table"],
    "groups": 1822,
    "test_photographs_sharing_a_group_with_training_as_published": 44,
    "share_of_test_photographs_that_are_clean": 1.0,
    "left_out": LEFT_OUT,
}


def about(rests_on: Any = PROTOCOL, counts: dict[str, int] | None = None, **model: Any) -> dict[str, Any]:
    dataset = {"counts": COUNTS if counts is None else counts, "id": "here"}
    named = {"classes": ["a", "b", "c", "d"], "splits": {"test": {}}}
    return {"protocol": rests_on, "dataset": dataset, "model": model, **named}


def said(**changes: Any) -> str:
    return " ".join(remark.text for remark in remarks(about(PROTOCOL | changes)))


def test_the_way_of_the_photographs_names_every_reason_and_split() -> None:
    found = {step.text: step.n for step in steps(about())}
    assert found == {
        "found": 2357,
        "set aside: can't be read": 0,
        "left out: its group has test photographs": 65,
        "left out: its group stands under two labels": 282,
        "for training": 1610,
        "for validation": 282,
        "for test": 118,
    }


@given(st.lists(st.integers(0, 1000), min_size=6, max_size=6), st.integers(0, 50), st.booleans())
def test_what_became_of_the_photographs_adds_up_to_what_was_found(n: list[int], lost: int, reasons: bool) -> None:
    used = dict(zip(("train", "val", "test", "out_of_fold", "unreadable", "left_out"), n, strict=True))
    counts = {"found": sum(n) + lost, **used}
    protocol = {"left_out": {"reason": used["left_out"]}} if reasons else "kept"
    found = steps(about(protocol, counts))
    assert found[0].n == counts["found"] == sum(step.n for step in found[1:])
    assert sum(step.n for step in found if step.kind == GONE) == used["left_out"] + used["unreadable"] + lost


def test_cross_validation_adds_up_too() -> None:
    found = steps(about(PROTOCOL, {"found": 2357, "out_of_fold": 1892}))
    assert [(step.text, step.n) for step in found[-2:]] == [("not used", 118), ("scored out of fold", 1892)]
    text = said(folds=5)
    assert "5 folds" in text
    assert "clean" not in text


def test_a_fold_alone_is_not_the_cross_validation() -> None:
    text = said(folds=5, fold=0)
    assert "Fold 1 of 5 of a cross-validation" in text
    assert "scored by the model that did not see" not in text


def test_leaks_are_counted_and_what_was_done_about_them_is_said() -> None:
    assert "44 of 118 test photographs (37.3%) share a group" in said()
    assert "100% of the test photographs are clean" in said()
    assert "1,822 groups" in said()
    kept = remarks(about(PROTOCOL | {"policy": "keep", "share_of_test_photographs_that_are_clean": 0.627}))
    [leak] = [remark for remark in kept if "62.7%" in remark.text]
    assert leak.alarm
    assert "No group stands on two sides" not in " ".join(remark.text for remark in kept)


def test_without_a_table_of_lesions_it_says_what_that_leaves_open() -> None:
    assert "No table of lesions" in said(grouped_by=["copies"])
    assert "No table of lesions" not in said()


@pytest.mark.parametrize(
    ("v", "words", "alarm"), [(0.93, "closely", True), (0.3, "in part", False), (0.05, "hardly", False)]
)
def test_the_source_confound_is_said_in_plain_words(v: float, words: str, alarm: bool) -> None:
    source = {"cramers_v": v, "balanced_accuracy": 0.41}
    [found] = [one for one in remarks(about(PROTOCOL | {"source": source})) if "Source and class" in one.text]
    assert words in found.text
    assert "41.0% at most, against 25.0% by chance" in found.text
    assert found.alarm == alarm
    assert ("archive" in found.text) == (v > 0.2)


def test_a_model_of_another_dataset_is_no_clean_test() -> None:
    assert not [one for one in remarks(about(dataset="here")) if one.alarm]
    [found] = [one for one in remarks(about(dataset="there")) if one.alarm]
    assert "another dataset" in found.text


def test_an_outside_test_says_what_was_not_looked_for_and_is_not_naive_by_its_models_split() -> None:
    document = about({"description": "from elsewhere"}, protocol="as published") | {"splits": {"outside": {}}}
    assert remarks(document)[0].text == "From elsewhere."
    assert "not looked for" in remarks(document)[1].text
    assert not is_naive(document)
    assert is_naive(document | {"splits": {"test": {}}})


def test_folders_that_share_a_right_class_are_said_to_spoil_each_other() -> None:
    shared = {"labels": {"junctional": ["nevus"], "compound": ["nevus"], "mel": ["melanoma"]}}
    [found] = [one for one in remarks(about(shared)) if "share classes" in one.text]
    assert found.alarm and "folders compound, junctional share" in found.text and "mel" not in found.text
    assert "share classes" not in said(labels={"nv": ["nevus"], "mel": ["melanoma"]})


def test_naive_is_what_either_side_was_split_by() -> None:
    assert is_naive(about("as published"))
    assert is_naive(about({"policy": "as_published"}))
    assert is_naive(about(protocol={"policy": "as_published"}))
    assert not is_naive(about())
    assert not is_naive(about("grouped"))


def test_nothing_that_the_protocol_holds_is_lost() -> None:
    assert unsaid(about(PROTOCOL | {"something new": 3})) == {"something new": 3}
    assert remarks(about("a sentence of its own"))[0].text == "A sentence of its own."
