"""Groups are the connected components of what links photographs, and the tables of groups are read strictly."""

import random
from itertools import pairwise

import pytest
from dermaspark import groups
from dermaspark.errors import UserError
from dermaspark.groups import components, read_table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def grouped(spark, links: list[tuple[str, str]], ids: list[str]) -> dict[str, str]:
    table = spark.createDataFrame([(one,) for one in ids], "id string")
    rows = components(spark.createDataFrame(links, "id_a string, id_b string"), table).collect()
    assert len(rows) == len(ids)
    return {row["id"]: row["group"] for row in rows}


def expected(links: list[tuple[str, str]], ids: list[str]) -> dict[str, str]:
    """By hand: labels spread until nothing changes."""
    label = {one: one for one in ids}
    changed = True
    while changed:
        changed = False
        for a, b in links:
            low = min(label[a], label[b])
            if label[a] != low or label[b] != low:
                label[a] = label[b] = low
                changed = True
    return label


@pytest.fixture(params=[0, groups.LINKS_OF_ONE_TASK], ids=["many", "few"])
def of_one_task(request, monkeypatch) -> None:
    """All links are too many for one task, or none."""
    monkeypatch.setattr(groups, "LINKS_OF_ONE_TASK", request.param)


@pytest.mark.usefixtures("of_one_task")
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40))
def test_groups_are_connected_components_named_by_their_smallest_id(spark, links):
    ids = [f"{i:02d}" for i in range(31)]
    named = [(f"{a:02d}", f"{b:02d}") for a, b in links]
    assert grouped(spark, named, ids) == expected(named, ids)


@pytest.mark.usefixtures("of_one_task")
def test_a_long_chain_in_any_order_is_one_group(spark):
    ids = [f"{i:04d}" for i in range(300)]
    chain = random.Random(0).sample(ids, len(ids))
    assert set(grouped(spark, list(pairwise(chain)), ids).values()) == {"0000"}


@pytest.mark.usefixtures("of_one_task")
def test_a_hub_with_many_neighbours_is_one_group(spark):
    ids = [f"{i:05d}" for i in range(5000)]
    assert set(grouped(spark, [("02500", one) for one in ids], ids).values()) == {"00000"}


@pytest.mark.usefixtures("of_one_task")
def test_without_links_each_photograph_is_a_group(spark):
    assert grouped(spark, [], ["b", "a"]) == {"a": "a", "b": "b"}


def csv(folder, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return f"file://{folder}/{name}"


def rows_of(table) -> dict[str, dict]:
    return {row["image_id"]: row.asDict() for row in table.collect()}


def test_a_table_may_call_its_groups_lesions_and_keeps_its_other_columns(spark, tmp_path):
    url = csv(tmp_path, "odd name, 50% [1].csv", "image_id,lesion_id,age,body site\nI1,L1,40,back\nI2,L1,,\n")
    table = rows_of(read_table(spark, [url]))
    assert table["I1"] == {"image_id": "I1", "group": "L1", "age": "40", "body site": "back"}
    assert table["I2"]["group"] == "L1"
    assert table["I2"]["age"] is None


def test_several_tables_are_laid_over_each_other(spark, tmp_path):
    first = csv(tmp_path, "a.csv", "image_id,group,age\nI1,G1,40\nI1,G1,40\n")
    second = csv(tmp_path, "b.csv", "image_id,group,sex\nI1,G1,male\nI2,G1,\n")
    table = rows_of(read_table(spark, [first, second]))
    assert table["I1"] == {"image_id": "I1", "group": "G1", "age": "40", "sex": "male"}
    assert len(table) == 2


def test_an_image_in_two_groups_is_refused_by_file_and_image(spark, tmp_path):
    first = csv(tmp_path, "a.csv", "image_id,group\nI1,G1\n")
    second = csv(tmp_path, "b.csv", "image_id,lesion_id\nI1,G2\nI2,G2\n")
    with pytest.raises(UserError, match=r"a\.csv, .*b\.csv: image_id I1 has two values of group, G1 and G2"):
        read_table(spark, [first, second])


@pytest.mark.parametrize("text", ["image_id,lesion\nI1,L1\n", "id,group\nI1,L1\n", ""])
def test_a_table_without_the_columns_is_refused_by_name(spark, tmp_path, text):
    with pytest.raises(UserError, match=r"bad\.csv: .*image_id.*group or lesion_id"):
        read_table(spark, [csv(tmp_path, "bad.csv", text)])


def test_a_table_that_is_not_there_is_refused_by_name(spark, tmp_path):
    with pytest.raises(UserError, match=r"none\.csv: no such file"):
        read_table(spark, [f"file://{tmp_path}/none.csv"])
