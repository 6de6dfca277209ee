"""Preprocessing's promises: every photograph is counted once, and ids and the seed alone decide every byte."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import CLASSES, draw_source, picture
from dermaspark import gathered, writing
from dermaspark.cleaning import clean
from dermaspark.dataset import read_manifest
from dermaspark.errors import UserError
from dermaspark.features import efficientnet
from dermaspark.photo import decode
from dermaspark.preparation import prepare, read_groups
from PIL import Image

SMALL = ("image.height=16", "image.width=16", "augment.copies=2")


@pytest.fixture
def prepared(spark, configure, tmp_path):
    """Preprocess a source into a folder of its own and return its manifest and its URL."""

    def run(source, *arguments: str, name: str = "dataset"):
        config = configure(f"input.path={source}", f"output.path={tmp_path / name}", *SMALL, *arguments)
        return prepare(spark, config), f"file://{tmp_path / name}"

    return run


def contents(url: str):
    """(split, copy, bucket) to all columns of the file's rows, in their order."""
    manifest = read_manifest(url)
    folder = url.removeprefix("file://")
    return {
        (f.split, f.copy, f.bucket): pq.ParquetFile(f"{folder}/{f.path}").read().to_pydict() for f in manifest.files
    }


def test_every_photograph_is_counted_once_and_only_training_rows_are_augmented(dataset):
    manifest = read_manifest(dataset)
    assert manifest.counts == {
        "found": 138,
        "train": 102,
        "val": 18,
        "test": 18,
        "left_out": 0,
        "unreadable": 0,
    }
    assert manifest.classes == sorted(CLASSES)
    assert manifest.class_counts["val"] == dict.fromkeys(CLASSES, 6)
    rows = contents(dataset)
    assert {key[:2] for key in rows} == {("train", 0), ("train", 1), ("train", 2), ("val", 0), ("test", 0)}
    for split, copy in {key[:2] for key in rows}:
        ids = [name for key, table in rows.items() if key[:2] == (split, copy) for name in table["id"]]
        assert len(ids) == len(set(ids)) == manifest.counts[split]
    assert [f.rows for f in manifest.files] == [len(rows[f.split, f.copy, f.bucket]["id"]) for f in manifest.files]


def test_copy_0_is_the_photograph_and_the_others_are_not(dataset, source):
    rows = contents(dataset)
    tables = [rows["train", copy, 0] for copy in range(3)]
    assert tables[0]["id"] == tables[1]["id"] == tables[2]["id"]
    for i, name in enumerate(tables[0]["id"]):
        path = source.parent / name
        assert tables[0]["image"][i] == decode(path.read_bytes(), 16, 16, 10**6).tobytes()
        assert len({table["image"][i] for table in tables}) == 3
        assert sorted(CLASSES)[tables[0]["label"][i]] == path.parent.name


def test_a_dataset_holds_cleaned_photographs_where_that_is_asked_for(prepared, source):
    manifest, url = prepared(source, "image.hair_removal=true", "image.colour_constancy=true")
    spec = manifest.preprocessing
    assert spec["hair_removal"] is spec["colour_constancy"] is True
    table = contents(url)["test", 0, 0]
    for name, pixels in zip(table["id"], table["image"], strict=True):
        assert pixels == clean(decode((source.parent / name).read_bytes(), 16, 16, 10**6), spec).tobytes()


@pytest.mark.parametrize("partitions", [1, 3, 8])
def test_partitions_and_folders_decide_nothing(spark, prepared, dataset, source, tmp_path, partitions, monkeypatch):
    monkeypatch.setattr(writing, "TASKS_A_SLOT", partitions // 2)  # 0: all buckets in one
    moved = tmp_path / "elsewhere" / source.name
    moved.parent.mkdir()
    os.symlink(source, moved)
    before = spark.conf.get("spark.sql.shuffle.partitions")
    spark.conf.set("spark.sql.shuffle.partitions", str(partitions))
    try:
        manifest, url = prepared(moved)
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", before)
    assert contents(url) == contents(dataset)
    assert manifest.id == read_manifest(dataset).id


def test_another_seed_is_another_dataset(prepared, dataset, source):
    _, url = prepared(source, "split.seed=1")
    first, second = contents(dataset), contents(url)
    assert first["train", 0, 0]["id"] != second["train", 0, 0]["id"]


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def giant_png() -> bytes:
    """A header that promises 30,000 x 30,000 pixels, and little behind it."""
    data = bytearray(encoded(Image.new("L", (8, 8)), "PNG"))
    data[16:24] = (30_000).to_bytes(4, "big") * 2
    import zlib

    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    return bytes(data)


def test_odd_photographs_are_read_right_or_set_aside_with_the_reason(spark, prepared, tmp_path):
    source = draw_source(tmp_path / "odd", 12, 2, CLASSES[:2])
    folder = source / "Train" / CLASSES[0]
    rgb = Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8))
    good = {
        "cmyk.JPG": encoded(rgb.convert("CMYK"), "JPEG"),
        "grey 16.png": encoded(Image.fromarray(np.full((9, 9), 40_000, np.uint16)), "PNG"),
        "rgba, 50%=.png": encoded(rgb.convert("RGBA"), "PNG"),
        "palette.Bmp": encoded(rgb.convert("P"), "BMP"),
        "Ärzte é 皮膚.tiff": encoded(rgb, "TIFF"),
        "moving.webp": encoded(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(90)]),
        "a::b [1] {x}.jpeg": picture(1),
    }
    bad = {
        "empty.jpg": (b"", "empty file"),
        "cut.jpg": (picture(2)[:-400], "truncated"),
        "text.png": (b"this is not a picture", "not an image"),
        "giant.png": (giant_png(), "too many pixels (30000 x 30000)"),
        "gif inside.jpg": (b"GIF89a" + bytes(20), "unsupported format GIF"),
    }
    for name, data in {**good, **{name: data for name, (data, _) in bad.items()}}.items():
        (folder / name).write_bytes(data)
    (folder / "notes.txt").write_text("not counted")
    (folder / ".hidden.jpg").write_bytes(b"")
    with open(os.fsencode(folder) + b"/latin\xe9.jpg", "wb") as file:
        file.write(picture(3))
    manifest, url = prepared(source, "input.max_bad_fraction=0.5")
    assert manifest.counts["found"] == 2 * 14 + len(good) + len(bad) + 1
    assert manifest.counts["unreadable"] == len(bad) + 1
    table = spark.read.parquet(f"{url}/unreadable").toPandas()
    reasons = {Path(path).name: reason for path, reason in zip(table["path"], table["reason"], strict=True)}
    assert reasons == {name: reason for name, (_, reason) in bad.items()} | {
        "latin\\xe9.jpg": "the file's name is not UTF-8"
    }
    ids = {key for table in contents(url).values() for key in table["id"]}
    assert {f"odd/Train/{CLASSES[0]}/{name}" for name in good} <= ids


@pytest.mark.parametrize("limit", [gathered.LIMIT, 10])
def test_too_many_unreadable_photographs_fail_and_leave_no_dataset(prepared, tmp_path, monkeypatch, limit):
    monkeypatch.setattr(gathered, "LIMIT", limit)
    source = draw_source(tmp_path / "bad", 10, 1, CLASSES[:2])
    for name in ("later.jpg", "broken.jpg"):
        (source / "Train" / CLASSES[0] / name).write_bytes(b"\xff\xd8\xff")
    with pytest.raises(
        UserError, match=r"2 of 24 photographs can't be read, e\.g\. .*broken\.jpg: truncated; more than"
    ):
        prepared(source)
    with pytest.raises(UserError, match="no manifest.json, so not a"):
        read_manifest(f"file://{tmp_path}/dataset")


def test_sources_are_set_against_classes_where_there_are_several(prepared, tmp_path):
    source = draw_source(tmp_path / "drawn", 12, 0, CLASSES[:2])
    manifest, _ = prepared(source)
    assert manifest.protocol["source"] is None
    table = tmp_path / "clinics.csv"
    rows = [f"{path.stem},{path.stem},{path.parent.name} clinic" for path in (source / "Train").rglob("*.jpg")]
    table.write_text("\n".join(["image_id,group,source", *rows]))
    manifest, _ = prepared(source, f"input.groups={table}", name="by clinic")
    assert manifest.protocol["source"]["sources"] == {f"{name} clinic": 12 for name in CLASSES[:2]}
    assert manifest.protocol["source"]["balanced_accuracy"] == 1


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (
            lambda s: os.rename(s / "Train/nevus", s / "Test/a"),
            "class 'a': Test has 4 photographs of it and Train",
        ),
        (lambda s: os.rename(s, s.parent / "gone"), "no such folder"),
        (lambda s: [os.rename(s / p, s.parent / p) for p in ("Train", "Test")], "no class folders"),
    ],
)
def test_a_source_that_cannot_be_used_is_refused_in_a_line(prepared, tmp_path, break_it, message):
    source = draw_source(tmp_path / "source", 4, 1)
    break_it(source)
    with pytest.raises(UserError, match=message) as error:
        prepared(source)
    assert "\n" not in str(error.value)


def test_a_finished_dataset_is_not_written_over_unless_asked(prepared, tmp_path):
    source = draw_source(tmp_path / "twice", 4, 1, CLASSES[:2])
    prepared(source)
    with pytest.raises(UserError, match="is finished already"):
        prepared(source)
    prepared(source, "overwrite=true")


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda s: (s / "Train" / CLASSES[0] / "broken.jpg").write_bytes(b"\xff\xd8\xff"), "can't be read"),
        (lambda s: os.rename(s / "Train" / CLASSES[1], s / "Test/a"), "class 'a': Test has"),
    ],
)
def test_photographs_that_are_refused_leave_an_earlier_dataset_whole(prepared, tmp_path, break_it, message):
    source = draw_source(tmp_path / "source", 4, 1, CLASSES[:2])
    earlier, url = prepared(source)
    rows = contents(url)
    break_it(source)
    with pytest.raises(UserError, match=message):
        prepared(source, "overwrite=true")
    assert read_manifest(url) == earlier
    assert contents(url) == rows


def test_weights_that_are_missing_leave_an_earlier_dataset_whole(prepared, tmp_path, monkeypatch):
    source = draw_source(tmp_path / "source", 4, 1, CLASSES[:2])
    earlier, url = prepared(source)
    monkeypatch.setattr(efficientnet, "FILE", ("no_such_package", "file"))
    with pytest.raises(UserError, match="efficientnet needs the weights of the package"):
        prepared(source, "overwrite=true", "features.families=[efficientnet]")
    assert read_manifest(url) == earlier


def test_class_folders_alone_give_training_and_validation_rows(prepared, tmp_path):
    source = draw_source(tmp_path / "flat", 8, 0, CLASSES[:2]) / "Train"
    manifest, _ = prepared(source, "split.validation=0.25")
    assert manifest.counts == {"found": 16, "train": 12, "val": 4, "test": 0, "left_out": 0, "unreadable": 0}


def test_a_manifest_that_was_changed_or_leaves_its_folder_is_refused(prepared, tmp_path):
    _, url = prepared(draw_source(tmp_path / "source", 4, 1, CLASSES[:2]))
    file = Path(url.removeprefix("file://")) / "manifest.json"
    document = json.loads(file.read_text())
    document["classes"].reverse()
    file.write_text(json.dumps(document))
    with pytest.raises(UserError, match="do not match its id"):
        read_manifest(url)
    document["classes"].reverse()
    document["files"][0]["path"] = "../../secret.parquet"
    file.write_text(json.dumps(document))
    with pytest.raises(UserError, match="leaves the dataset"):
        read_manifest(url)


@pytest.mark.parametrize("name", ["split", "ID", "Image", "Source"])
def test_a_column_that_is_the_datasets_own_in_any_case_is_refused(spark, tmp_path, name):
    (tmp_path / "table.csv").write_text(f"image_id,lesion_id,{name}\na,L1,x\n")
    with pytest.raises(UserError, match=f"a column named {name} is the dataset's own; rename it"):
        read_groups(spark, str(tmp_path / "table.csv"))
