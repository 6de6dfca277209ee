"""The card claims no more than the document supports."""

from typing import Any

import pytest
from dermaspark.card import NO, PARTLY, YES, checklist, limits

SPLIT: dict[str, Any] = {"by": {"source": {"one": {}}}}
REFUSED = {"n": 0, "share": 0.0}


def about(protocol: Any = "", splits: dict[str, Any] | None = None, **model: Any) -> dict[str, Any]:
    return {"protocol": protocol, "model": model, "dataset": {"id": "here"}, "splits": splits or {"test": SPLIT}}


def answer(document: dict[str, Any], asked: str) -> str:
    [item] = [item for item in checklist(document) if item.asked.startswith(asked)]
    return item.answered


def test_every_item_of_both_guidelines_is_in_the_table() -> None:
    def numbers(cells: list[str]) -> set[int]:
        found: set[int] = set()
        for part in ", ".join(cells).replace("-,", "").split(", "):
            ends = [int(end.rstrip("abcdefg")) for end in part.split("-") if end]
            found |= set(range(ends[0], ends[-1] + 1)) if ends else set()
        return found

    items = checklist(about())
    assert numbers([item.tripod for item in items if item.tripod != "-"]) == set(range(1, 28))
    assert numbers([item.claim for item in items if item.claim != "-"]) == set(range(1, 45))
    assert {item.answered for item in items} == {YES, PARTLY, NO}
    assert all(item.where for item in items)


@pytest.mark.parametrize(
    ("asked", "without", "given", "with_it"),
    [
        ("Partitions", YES, {"protocol": "as published"}, NO),
        ("Partitions", YES, {"splits": {"outside": SPLIT}}, PARTLY),
        ("Partitions", YES, {"protocol": {"share_of_test_photographs_that_are_clean": 0.6}}, NO),
        ("Partitions", YES, {"dataset": "elsewhere"}, PARTLY),
        ("Partitions", YES, {"protocol": {"folds": 5, "share_of_test_photographs_that_are_clean": 0.6}}, YES),
        ("Test on internal", YES, {"splits": {"outside": SPLIT}}, NO),
        ("Test on external", NO, {"splits": {"outside": SPLIT}}, YES),
        ("Fairness", NO, {"splits": {"test": {"by": {"sex": {}}}}}, PARTLY),
        ("Differences between", NO, {"splits": {"test": {"by": {"source": {"one": {}, "two": {}}}}}}, YES),
        ("Use: ", NO, {"splits": {"test": SPLIT | {"refused": REFUSED}}}, PARTLY),
        ("Output of the model", PARTLY, {"calibration": {"temperature": 1.0, "shifts": [0.0], "rows": 0}}, PARTLY),
        ("Output of the model", PARTLY, {"calibration": {"temperature": 1.2, "shifts": [0.0], "rows": 9}}, YES),
    ],
)
def test_answers_follow_what_was_done(asked: str, without: str, given: dict[str, Any], with_it: str) -> None:
    assert answer(about(), asked) == without
    assert answer(about(**given), asked) == with_it


def test_limits_say_what_was_not_done() -> None:
    text = " ".join(limits(about()))
    assert "Skin tone is not recorded" in text
    assert "too narrow" in text
    assert "not tested on photographs from outside" in text
    done = " ".join(limits(about(splits={"outside": SPLIT}, protocol={"lesions": "the groups table"})))
    assert "too narrow" not in done
    assert "not tested on photographs from outside" not in done
    assert "gate" not in text
    assert "gate" in " ".join(limits(about(splits={"test": SPLIT | {"refused": REFUSED}})))
