"""What the ISIC Archive's table says of each image: its class, or why it has none, and its group."""

from pathlib import Path

import pytest
from isic_table import CLASSES, GROUP_COLUMNS, arrange, class_of, diagnosis, groups_table, read
from lesion_drawing import KINDS
from recorded import BY_CLASS, ROWS


def test_the_nine_classes_are_those_of_the_sample_photographs() -> None:
    assert tuple(KINDS) == CLASSES


def test_every_image_of_the_table_is_in_a_class_or_left_out_with_its_diagnosis() -> None:
    images, groups, left_out = arrange(ROWS)
    classes = [image.class_name for image in images.values()]
    assert {name: classes.count(name) for name in CLASSES} == BY_CLASS
    assert images.keys() | left_out.keys() == {row["isic_id"] for row in ROWS}
    assert not images.keys() & left_out.keys()
    assert [row["image_id"] for row in groups] == list(images)
    assert {"Melanoma metastasis", "Baso-squamous carcinoma", "Benign", "no diagnosis"} <= set(left_out.values())


@pytest.mark.parametrize(
    ("levels", "name"),
    [
        (("Malignant", "Malignant melanocytic proliferations (Melanoma)"), "melanoma"),
        (("Malignant", "Malignant melanocytic proliferations (Melanoma)", "Melanoma metastasis"), None),
        (("Benign", "Benign melanocytic proliferations", "Nevus", "Blue nevus"), "nevus"),
        (("Benign", "Benign melanocytic proliferations"), None),
        (("Benign", "Benign soft tissue proliferations - Vascular"), "vascular lesion"),
        (("Malignant", "Malignant soft tissue proliferations - Vascular", "Kaposi sarcoma"), None),
        (("Indeterminate",), None),
        ((), None),
    ],
)
def test_the_most_specific_diagnosis_that_is_known_decides(levels: tuple[str, ...], name: str | None) -> None:
    row = {f"diagnosis_{i}": (levels + ("",) * 5)[i - 1] for i in range(1, 6)}
    assert class_of(row) == name
    assert class_of({**row, "diagnosis": "dermatofibroma"}) == (name if levels else "dermatofibroma")
    assert diagnosis(row) == (levels[-1] if levels else "no diagnosis")


def test_the_flat_diagnoses_of_older_tables_have_the_same_classes() -> None:
    older = {"isic_id": "ISIC_0000001", "attribution": "", "copyright_license": "CC-0", "benign_malignant": "benign"}
    for name in CLASSES:
        assert class_of({**older, "diagnosis": name}) == name
    flat = {"angioma": "vascular lesion", "pyogenic granuloma": "vascular lesion", "nevus spilus": "nevus"}
    flat |= {"solar lentigo": None, "melanoma metastasis": None, "basal cell carcinoma": "basal cell carcinoma"}
    assert {term: class_of({**older, "diagnosis": term}) for term in flat} == flat


def test_the_group_is_the_patient_where_known_else_the_lesion_else_none() -> None:
    groups = {row["image_id"]: row for row in groups_table(ROWS)}
    for row in ROWS:
        if row["patient_id"] or not row["lesion_id"]:
            assert groups[row["isic_id"]]["group"] == row["patient_id"]
    assert groups["ISIC_9000001"]["group"] == groups["ISIC_9000002"]["group"] == "IL_7252831"
    assert groups["ISIC_9000005"]["group"] == ""
    # One lesion, whose patient is named with one of its two images only: not two groups.
    assert ROWS[7]["patient_id"] == "" and ROWS[7]["lesion_id"] == ROWS[6]["lesion_id"]
    assert groups["ISIC_9000008"]["group"] == groups["ISIC_9000007"]["group"] == "IP_2842074"
    assert groups["ISIC_9000013"]["site"] == "Trunk"  # where only the new hierarchy of sites is given


def test_a_patient_named_with_a_left_out_image_only_still_makes_the_group() -> None:
    lesion = {"lesion_id": "IL_1", "diagnosis_3": "Nevus"}
    named = {"isic_id": "ISIC_2", "lesion_id": "IL_1", "patient_id": "IP_1"}
    [row] = arrange([{"isic_id": "ISIC_1", **lesion}, named]).groups
    assert (row["image_id"], row["group"]) == ("ISIC_1", "IP_1")


def test_the_groups_table_has_nothing_that_readers_of_csv_differ_on() -> None:
    assert any('"' in row["attribution"] for row in ROWS)
    odd = {"isic_id": "ISIC_1", "diagnosis": "nevus", "attribution": ' The "A",\r\n B\\C '}
    for row in arrange([*ROWS, odd]).groups:
        assert tuple(row) == GROUP_COLUMNS
        assert not any(mark in value for value in row.values() for mark in '"\\\r\n')
        assert all(value == value.strip() for value in row.values())


def test_an_id_that_would_leave_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("isic_id,diagnosis\n../../etc/ISIC_1,nevus\n")
    with pytest.raises(ValueError, match="none of the archive's"):
        read(tmp_path / "metadata.csv")
