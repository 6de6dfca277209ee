"""The promises about leaks and conflicts: what is left out is named, and no group stands on two sides."""

import logging
import shutil
from pathlib import Path

import pytest
from conftest import CLASSES, draw_source, picture
from dermaspark import gathered
from dermaspark.dataset import read_manifest
from dermaspark.policy import CONFLICT, LEAK
from dermaspark.preparation import prepare
from dermaspark.split import NOT_IN_FOLDS

SMALL = ("image.height=16", "image.width=16", "augment.copies=0")


@pytest.fixture(scope="module")
def flawed(tmp_path_factory) -> Path:
    """20 training and 4 test photographs of two classes; one leak, one label conflict, and a table of lesions."""
    source = draw_source(tmp_path_factory.mktemp("photographs") / "flawed", 20, 4, CLASSES[:2])
    first, second = (source / "Train" / name for name in CLASSES[:2])
    shutil.copy(sorted((source / "Test" / CLASSES[0]).iterdir())[0], first / "leak.jpg")
    for folder in (first, second):
        (folder / "conflict.jpg").write_bytes(picture(77))
    names = sorted(path.stem for path in first.iterdir() if path.stem.startswith("mel_"))
    rows = [f"{name},lesion-{i // 4},{30 + i}" for i, name in enumerate(names)]
    (source / "lesions.csv").write_text("\n".join(["image_id,lesion_id,age", *rows]) + "\n")
    return source


@pytest.fixture
def prepared(spark, configure, flawed, tmp_path):
    def run(*arguments: str, name: str = "dataset"):
        config = configure(f"input.path={flawed}", f"output.path={tmp_path / name}", *SMALL, *arguments)
        return prepare(spark, config), f"file://{tmp_path / name}"

    return run


def left_out(spark, url: str) -> dict[str, str]:
    rows = spark.read.parquet(f"{url}/left_out").collect()
    return {Path(row["path"]).parent.name + "/" + Path(row["path"]).name: row["reason"] for row in rows}


def test_the_driver_divides_as_the_executors_do(spark, configure, flawed, tmp_path, monkeypatch):
    table = tmp_path / "labels.csv"
    table.write_text(f"image_id,class\nconflict,{CLASSES[1]}\n")
    ways = [(), ("split.policy=keep",), ("split.policy=relabel", f"split.relabel={table}"), ("split.folds=2",)]
    for i, way in enumerate([*ways, ("split.policy=as_published",)]):
        manifests, tables = [], []
        for limit in (10**6, 20):
            monkeypatch.setattr(gathered, "LIMIT", limit)
            output = tmp_path / f"{i}-{limit}"
            paths = (f"input.path={flawed}", f"input.groups={flawed}/lesions.csv", f"output.path={output}")
            manifests.append(prepare(spark, configure(*paths, *SMALL, *way)))
            tables.append(spark.read.parquet(f"file://{output}/left_out").collect())
        assert manifests[0] == manifests[1]
        assert manifests[0].id == manifests[1].id
        assert tables[0] == tables[1]
        assert bool(tables[0]) == (way not in (ways[1], ("split.policy=as_published",)))


def rows_of(spark, url: str):
    return spark.read.parquet(f"{url}/photographs").toPandas()


def test_leaks_and_conflicts_are_left_out_of_training_by_default(spark, prepared):
    manifest, url = prepared()
    expected = {f"{name}/conflict.jpg": CONFLICT for name in CLASSES[:2]} | {f"{CLASSES[0]}/leak.jpg": LEAK}
    assert left_out(spark, url) == expected
    assert manifest.counts["found"] == 51
    assert manifest.counts["left_out"] == 3
    assert manifest.counts["test"] == 8
    assert manifest.protocol["left_out"] == {CONFLICT: 2, LEAK: 1}
    assert manifest.protocol["test_photographs_sharing_a_group_with_training_as_published"] == 1
    assert manifest.protocol["share_of_test_photographs_that_are_clean"] == 1
    assert read_manifest(url) == manifest


def test_the_naive_protocol_is_marked_as_such(spark, prepared):
    manifest, _ = prepared("split.policy=as_published")
    assert manifest.counts["left_out"] == 0
    assert manifest.protocol["policy"] == "as_published"
    assert "NAIVE" in manifest.protocol["description"]


def test_kept_leaks_are_counted_against_the_test_photographs(prepared):
    manifest, _ = prepared("split.policy=keep")
    assert manifest.counts["left_out"] == 0
    assert manifest.protocol["share_of_test_photographs_that_are_clean"] == 1 - 1 / 8


@pytest.mark.parametrize(
    ("row", "said"),
    [("conflict.jpg,nevus", "names no training photograph"), ("conflict,Wart", "no folder is named Wart")],
)
def test_a_table_that_hardly_fits_is_spoken_of(prepared, tmp_path, caplog, row, said):
    (tmp_path / "labels.csv").write_text(f"image_id,class\n{row}\n")
    with caplog.at_level(logging.WARNING, "dermaspark"):
        prepared("split.policy=relabel", f"split.relabel={tmp_path}/labels.csv")
    assert f"split.relabel: {said}" in caplog.text


def test_a_table_relabels_training_photographs(spark, prepared, flawed, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text(f"image_id,class\nconflict,{CLASSES[1]}\n")
    manifest, url = prepared("split.policy=relabel", f"split.relabel={table}")
    assert left_out(spark, url) == {f"{CLASSES[0]}/leak.jpg": LEAK}
    rows = rows_of(spark, url)
    assert set(rows[rows["image_id"] == "conflict"]["label"]) == {manifest.classes.index(CLASSES[1])}


def test_lesions_stay_whole_and_the_table_s_columns_stay_with_the_rows(spark, prepared, flawed):
    for seed in range(3):
        manifest, url = prepared(
            f"input.groups={flawed}/lesions.csv", "split.validation=0.4", f"split.seed={seed}", name=f"seed-{seed}"
        )
        rows = rows_of(spark, url)
        lesions = rows[rows["image_id"].str.startswith("mel_Train")]
        assert lesions["group"].nunique() == 5
        assert (lesions.groupby("group")["split"].nunique() == 1).all()
        assert manifest.columns == ["age"]
        assert set(lesions["age"].astype(int)) == set(range(30, 50))


def test_folds_test_every_training_photograph_once(spark, prepared, flawed):
    tested: list[str] = []
    for fold in range(2):
        manifest, url = prepared("split.folds=2", f"split.fold={fold}", name=f"fold-{fold}")
        assert left_out(spark, url)[f"{CLASSES[0]}/leak.jpg"] == LEAK
        assert manifest.protocol["left_out"][NOT_IN_FOLDS] == 8
        rows = rows_of(spark, url)
        tested += rows[rows["split"] == "test"]["id"].tolist()
        assert manifest.counts["found"] == sum(n for name, n in manifest.counts.items() if name != "found")
    assert len(tested) == len(set(tested)) == 40
