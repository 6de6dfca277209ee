"""Features in Spark: the same for any partitioning, fitted on training rows alone, and used as they were fitted."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import draw_source
from dermaspark import featurising, writing
from dermaspark.errors import UserError
from dermaspark.preparation import prepare

SMALL = (
    *("image.height=32", "image.width=32", "augment.copies=1"),
    *("features.families=[patches,covariance]", "features.components=6", "features.photographs=20"),
)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    return draw_source(tmp_path_factory.mktemp("few") / "drawn", 12, 3)


@pytest.fixture
def prepared(spark, configure, photographs, tmp_path):
    def run(name: str, *arguments: str):
        config = configure(f"input.path={photographs}", f"output.path={tmp_path / name}", *SMALL, *arguments)
        return prepare(spark, config), f"file://{tmp_path / name}"

    return run


def rows(manifest, url):
    for file in manifest.files:
        table = pq.ParquetFile(f"{url.removeprefix('file://')}/{file.path}").read()
        yield from (row | {"split": file.split} for row in table.to_pylist())


def test_every_row_has_the_features_of_its_own_pixels(prepared):
    manifest, url = prepared("dataset")
    described = manifest.preprocessing["features"]
    assert described["widths"] == {"patches": 6, "covariance": 6}
    fitted = featurising.load(url, described)
    found = list(rows(manifest, url))
    assert len(found) == 3 * (12 * 2 + 3) - 3 * 2, "two validation rows a class have no copies"
    for row in found[::7]:
        image = np.frombuffer(row["image"], np.uint8).reshape(1, 32, 32, 3)
        np.testing.assert_array_equal(fitted.project(fitted.describe(image))[0], np.array(row["features"], np.float32))


def test_partitions_decide_neither_the_fit_nor_a_number(spark, prepared, monkeypatch):
    first, _ = prepared("one")
    monkeypatch.setattr(writing, "TASKS_A_SLOT", 0)  # all buckets in one partition
    before = spark.conf.get("spark.sql.shuffle.partitions")
    spark.conf.set("spark.sql.shuffle.partitions", "1")
    try:
        again, _ = prepared("another")
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", before)
    assert again.preprocessing == first.preprocessing
    assert again.id == first.id, "the same bytes in every file"


def test_held_back_photographs_take_no_part_in_the_fit(spark, configure, photographs, prepared, tmp_path):
    whole, _ = prepared("whole", "split.validation=0")
    for test in (photographs / "Test").rglob("*.jpg"):
        other = tmp_path / "no-test" / "drawn" / "Train" / test.parent.name
        other.mkdir(parents=True, exist_ok=True)
    for train in (photographs / "Train").rglob("*.jpg"):
        (tmp_path / "no-test" / "drawn" / "Train" / train.parent.name / train.name).write_bytes(train.read_bytes())
    arguments = (f"input.path={tmp_path}/no-test/drawn", f"output.path={tmp_path}/without", "split.validation=0")
    without = prepare(spark, configure(*SMALL, *arguments))
    assert without.counts["test"] == 0 < whole.counts["test"]
    assert without.preprocessing["features"] == whole.preprocessing["features"]


@pytest.mark.parametrize("damage", ["flip", "lose"])
def test_a_featuriser_that_is_not_the_one_that_was_fitted_is_refused(prepared, tmp_path, damage):
    manifest, url = prepared("dataset")
    file = tmp_path / "dataset" / "featuriser.npz"
    if damage == "flip":
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    else:
        file.unlink()
    with pytest.raises(UserError, match=r"featuriser\.npz: is (missing|not the file that was fitted)"):
        featurising.load(url, manifest.preprocessing["features"])
