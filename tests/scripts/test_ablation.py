"""The ablation switches on what it says, one option at a time, and its table is the paired comparisons."""

import dataclasses

import pandas as pd
import pytest
from ablation import COPIES, OPTIONS, PLAIN, as_text, compare
from test_comparison import report, table


@pytest.mark.parametrize("name", OPTIONS)
def test_each_option_changes_one_setting_of_the_run_that_it_is_compared_with(configure, name) -> None:
    settings, against = OPTIONS[name]
    before = dataclasses.asdict(configure(*(OPTIONS[against][0] if against != PLAIN else ())))
    after = dataclasses.asdict(configure(*settings))
    changed = {f"{part}.{key}" for part in before for key in _different(before[part], after[part])}
    assert len(changed) == 1 and name.split("_")[0] in " ".join([*changed, *settings])


def _different(before, after) -> set[str]:
    return {key for key in before if before[key] != after[key]} if isinstance(before, dict) else set()


def test_the_table_is_the_paired_comparison_with_the_run_without_the_option(tmp_path, spark) -> None:
    skills = {PLAIN: 0.5, "hair_removal": 0.9, COPIES: 0.5, "quality": 0.2}
    of = {name: table(skill, range(300), name).assign(split="out_of_fold") for name, skill in skills.items()}
    for name, predictions in of.items():
        report(tmp_path / name, predictions, ("out_of_fold",))
    found = compare(spark, tmp_path, ["hair_removal", "quality"])
    right = pd.DataFrame({name: (rows["label"] == rows["predicted"]).mean() for name, rows in of.items()}, [0]).iloc[0]
    expected = right["hair_removal"] - right[PLAIN], right["quality"] - right[COPIES]
    for name, difference in zip(found, expected, strict=True):
        assert found[name]["accuracy"]["difference"] == pytest.approx(difference)
        low, high = found[name]["accuracy"]["difference_ci95"]
        assert low < difference < high
    lines = as_text(found).splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [["hair_removal", PLAIN, "300"], ["quality", COPIES, "300"]]
    assert f"{expected[0]:+.3f}" in lines[1]
