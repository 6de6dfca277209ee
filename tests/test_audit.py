"""The audit counts what was planted, says nothing that is not so, and fits on a page."""

import json
import os
import re
from pathlib import Path

import pandas as pd
import pytest
from dermaspark import audit, catalog, groups, photographs, storage
from dermaspark.examination import examine
from disguise import DISGUISES, jpeg, lesion
from PIL import Image
from pyspark import StorageLevel

CLASSES = ("melanoma", "nevus <b>&", "100% = a b")
MAX_PIXELS = 10**8


def read(spark, path, max_pixels: int = MAX_PIXELS):
    found = catalog.find(spark, catalog.class_folders(catalog.sources(path))).where("kind != 'other'")
    return photographs.fingerprint_all(found, 100, max_pixels).persist(StorageLevel.MEMORY_AND_DISK)


def plant(folder: Path) -> Path:
    """12 training and 3 test photographs of each of CLASSES, no two alike, and then what an audit looks for."""

    def place(split: str, name: str, stem: str) -> Path:
        path = folder / split / name / stem
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    for number, name in enumerate(CLASSES):
        for i in range(12):
            place("Train", name, f"train_{number}_{i:02d}.jpg").write_bytes(jpeg(lesion(100 * number + i, (120, 90))))
        for i in range(3):
            data = jpeg(lesion(1000 + 100 * number + i, (120, 90)))
            place("Test", name, f"test_{number}_{i:02d}.jpg").write_bytes(data)
    first, second, third = CLASSES
    original = place("Train", first, "train_0_00.jpg")
    place("Test", first, "same file.jpg").write_bytes(original.read_bytes())
    place("Train", first, "again.jpg").write_bytes(original.read_bytes())
    with Image.open(place("Train", second, "train_1_00.jpg")) as image:
        image.save(place("Train", third, "resaved.png"))
    disguised = DISGUISES["mirrored, quality 30"](lesion(201, (120, 90)))
    place("Test", third, "mirrored.jpg").write_bytes(jpeg(disguised))
    place("Train", first, "empty.jpg").write_bytes(b"")
    place("Train", first, "empty too.jpg").write_bytes(b"")
    place("Test", second, "cut short.jpg").write_bytes(original.read_bytes()[:300])
    place("Train", second, "notes.txt").write_text("no photograph")
    return folder


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Path:
    return plant(tmp_path_factory.mktemp("planted") / "set")


@pytest.fixture(scope="module")
def fingerprinted(spark, planted):
    return read(spark, str(planted))


@pytest.fixture(scope="module")
def table(spark, tmp_path_factory):
    """Two lesions: one ties a test photograph to a training one, one ties two training photographs."""
    path = tmp_path_factory.mktemp("table") / "lesions.csv"
    path.write_text("image_id,lesion_id\ntest_1_00,L1\ntrain_1_05,L1\ntrain_2_03,L2\ntrain_2_04,L2\nunknown,L3\n")
    return groups.read_table(spark, [f"file://{path}"])


@pytest.fixture(scope="module")
def audited(spark, fingerprinted, table, tmp_path_factory) -> tuple[audit.Audit, Path]:
    folder = tmp_path_factory.mktemp("audit") / "report"
    result = audit.audit(fingerprinted, table, near=True)
    audit.write(spark, result, f"file://{folder}", MAX_PIXELS)
    return result, folder


def test_every_planted_copy_leak_and_conflict_is_counted(audited):
    counts = audited[0].figures["counts"]
    assert counts == {
        "photographs": 45 + 4 + 3,
        "unreadable": 3,
        "exact_copy_pairs": 3,  # three files of one photograph
        "pixel_copy_pairs": 4,  # and the PNG
        "near_copy_pairs": 1,
        "crowded": 0,
        "groups": 45 - 2,  # each copy is in its original's, and each lesion joins two
        "groups_across_splits": 3,
        "test_photographs_leaked": 3,
        "test_photographs": 11,
        "groups_across_classes": 1,
        "photographs_in_conflicts": 2,
    }


def test_tables_hold_what_the_figures_count(audited):
    result, folder = audited
    tables = {name: pd.read_parquet(folder / name) for name in audit.TABLES}
    pairs = {
        (a.rpartition("/")[2], b.rpartition("/")[2], kind) for a, b, kind in tables["pairs"].iloc[:, :3].to_numpy()
    }
    assert pairs == {
        ("same file.jpg", "again.jpg", "bytes"),
        ("same file.jpg", "train_0_00.jpg", "bytes"),
        ("resaved.png", "train_1_00.jpg", "pixels"),
        ("mirrored.jpg", "train_2_01.jpg", "near"),
    }
    assert tables["pairs"].set_index("kind").loc["near", "correlation"] > 0.9
    of = tables["groups"]
    assert len(of) == 49
    assert of["group"].nunique() == result.figures["counts"]["groups"]
    assert (of.groupby("group")["id"].min() == of.groupby("group")["group"].first()).all()
    assert set(tables["leaks"]["image_id"]) == {
        *("same file", "again", "train_0_00", "mirrored", "train_2_01", "test_1_00", "train_1_05")
    }
    assert set(tables["conflicts"]["image_id"]) == {"resaved", "train_1_00"}
    reasons = dict(tables["unreadable"][["path", "reason"]].to_numpy())
    assert sorted(reasons.values()) == ["empty file", "empty file", "truncated"]


def test_with_near_copies_off_groups_rest_on_exact_copies_and_the_table(fingerprinted, table):
    linked = audit.link(fingerprinted.where("status = 'ok'"), table, near=False)
    assert linked.groups.select("group").distinct().count() == 44
    assert linked.pairs.where("kind = 'near'").count() == 0


def test_without_a_table_groups_rest_on_copies_alone(fingerprinted):
    linked = audit.link(fingerprinted.where("status = 'ok'"), None, near=True)
    assert linked.groups.select("group").distinct().count() == 45


def test_groups_are_the_same_for_any_number_of_partitions(fingerprinted, table):
    readable = fingerprinted.where("status = 'ok'")
    found = [sorted(audit.link(readable.repartition(n), table, near=True).groups.collect()) for n in (1, 7)]
    assert found[0] == found[1]


def test_facts_are_told_by_class(audited):
    facts = audited[0].figures["classes"]
    assert list(facts) == sorted(CLASSES)
    third = facts["100% = a b"]
    assert (third["train"], third["test"]) == (13, 4)
    assert third["sizes"] == {"120x90": 17}
    assert third["formats"] == {"JPEG": 16, "PNG": 1}
    assert facts["melanoma"]["unreadable"] == 2
    for one in facts.values():
        readable = one["train"] + one["test"]
        assert all(sum(one["colour"][channel]) == readable for channel in ("red", "green", "blue"))
        assert sum(one["side"].values()) == readable
    assert audited[0].figures["unreadable"] == {"empty file": 2, "truncated": 1}


def test_the_canary_is_in_the_figures(audited):
    figures = audited[0].figures["canary"]
    assert figures["chance"] == pytest.approx(1 / 3)
    assert set(figures["by_feature"]) == {"width", "height", "bytes", "jpeg_quality", "red", "green", "blue"}


def test_a_source_that_tells_the_class_is_named(spark, tmp_path):
    for source, name in (("clinic", "nevus"), ("archive", "melanoma")):
        for i in range(20):
            path = tmp_path / source / name / f"{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(jpeg(lesion(i + 50 * len(source), (40, 30))))
    read_both = read(spark, [str(tmp_path / "clinic"), str(tmp_path / "archive")])
    figures = audit.audit(read_both, None, near=False).figures["source"]
    assert figures["cramers_v"] == pytest.approx(1, abs=0.05)
    assert figures["balanced_accuracy"] == 1
    assert figures["sources"] == {"archive": 20, "clinic": 20}


def test_one_source_says_nothing(audited):
    assert audited[0].figures["source"] is None


def test_the_page_is_whole_by_itself_and_escapes_what_folders_are_called(audited):
    page = (audited[1] / audit.PAGE).read_text()
    assert "nevus &lt;b&gt;&amp;" in page
    assert "nevus <b>" not in page
    assert not re.search(r'(?:src|href)="(?!data:image/jpeg;base64,|#)', page)
    assert not re.search(r"<script|@import|url\(http", page)
    assert "3 of 11" in page
    # every photograph that can be read stands on a contact sheet, and leaks and conflicts side by side
    assert page.count("<img ") == 49 + 7 + 2


def test_the_page_is_bounded(spark, audited, monkeypatch):
    result, _ = audited
    monkeypatch.setattr(audit.audit_page, "ON_CONTACT_SHEET", 2)
    monkeypatch.setattr(audit.audit_page, "GROUPS_SHOWN", 1)
    monkeypatch.setattr(audit.audit_page, "SHOWN_OF_GROUP", 2)
    page = audit.audit_page.render(spark, result.figures, result.tables, result.sample, MAX_PIXELS)
    assert page.count("<img ") == 3 * 2 + 2 + 2
    assert "1 of 3 are shown" in page


def test_no_picture_is_made_of_a_giant_or_of_what_is_gone(tmp_path):
    width, height = lesion(1).size
    photograph, gone = tmp_path / "photograph.jpg", tmp_path / "gone.jpg"
    photograph.write_bytes(jpeg(lesion(1)))
    assert audit.audit_page.picture(f"file://{photograph}", width * height) is not None
    assert audit.audit_page.picture(f"file://{photograph}", width * height - 1) is None
    assert audit.audit_page.picture(f"file://{gone}", width * height) is None


def test_the_document_is_written_last(spark, audited, tmp_path, monkeypatch):
    write = storage.write_bytes

    def full(url, data):
        if url.endswith(audit.PAGE):
            raise OSError("no space left on device")
        write(url, data)

    monkeypatch.setattr(storage, "write_bytes", full)
    with pytest.raises(OSError, match="no space"):
        audit.write(spark, audited[0], f"file://{tmp_path}/out", MAX_PIXELS)
    assert not (tmp_path / "out" / audit.DOCUMENT).exists()


def test_an_audit_that_fails_leaves_an_earlier_one_as_it_is(spark, planted, tmp_path, configure, monkeypatch):
    config = configure(f"input.path={planted}", f"report.path={tmp_path}/report", "overwrite=true")
    examine(spark, config)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert tmp_path / "report" / audit.DOCUMENT in before

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(audit, "canary", full)
    with pytest.raises(OSError, match="no space"):
        examine(spark, config)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_the_document_is_the_figures(audited):
    result, folder = audited
    assert json.loads((folder / audit.DOCUMENT).read_text()) == result.figures


def test_nothing_readable_is_no_crash(spark, tmp_path):
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / "x.jpg").write_bytes(b"")
    result = audit.audit(read(spark, str(tmp_path / "set")), None, near=True)
    audit.write(spark, result, f"file://{tmp_path}/report", MAX_PIXELS)
    assert result.figures["counts"]["unreadable"] == 2
    assert result.figures["canary"] is None


def test_real_photographs_are_grouped_as_by_hand(spark):
    folder = os.environ.get("DERMASPARK_ISIC9")
    if not folder:
        pytest.skip("DERMASPARK_ISIC9 names no folder of real photographs")
    table = groups.read_table(spark, [f"file://{folder}/lesions.csv"])
    counts = audit.audit(read(spark, folder), table, near=False).figures["counts"]
    paths = sorted(Path(folder).glob("T*/*/*.jpg"))
    by_hand = pd.DataFrame(
        {
            "data": [path.read_bytes() for path in paths],
            "stem": [path.stem for path in paths],
            "split": [path.parts[-3] for path in paths],
            "label": [path.parts[-2] for path in paths],
        }
    )
    sizes = by_hand.groupby("data").size()
    assert counts["exact_copy_pairs"] == (sizes * (sizes - 1) // 2).sum()
    lesions = pd.read_csv(Path(folder) / "lesions.csv").set_index("image_id")["lesion_id"]
    group = by_hand["data"].map({data: i for i, data in enumerate(sizes.index)})
    for _ in range(10):  # copies take one label, then lesions do, until nothing changes
        lesion_of = by_hand["stem"].map(lesions).fillna(by_hand["stem"] + by_hand.index.astype(str))
        group = group.groupby(lesion_of).transform("min").groupby(by_hand["data"]).transform("min")
    assert counts["groups"] == group.nunique()
    both = by_hand.groupby(group)[["split", "label"]].nunique()
    assert counts["groups_across_splits"] == (both["split"] > 1).sum()
    assert counts["groups_across_classes"] == (both["label"] > 1).sum()
    leaked = group.isin(both.index[both["split"] > 1]) & (by_hand["split"] == "Test")
    assert counts["test_photographs_leaked"] == leaked.sum()
