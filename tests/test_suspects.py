"""What sketches leave to be decoded in full is enough: the same groups as the audit's, and nothing else is decoded."""

import io
import logging

import pandas as pd
import pytest
from dermaspark import audit, catalog
from dermaspark.fingerprint import fingerprint
from dermaspark.gathered import NO_LINKS, group_all
from dermaspark.groups import components
from dermaspark.photographs import fingerprint_all, read_and_sketch
from dermaspark.suspects import link_copies
from disguise import DISGUISES, jpeg, lesion
from PIL import Image
from pyspark.sql import functions as F

MANY = 10**9


def png(data: bytes) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(data)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def find(spark, tmp_path):
    """Photographs in one class folder, by name, as the catalog finds them."""

    def found(photographs: dict[str, bytes]):
        folder = tmp_path / "set" / "nevus"
        folder.mkdir(parents=True)
        for name, data in photographs.items():
            (folder / name).write_bytes(data)
        return catalog.find(spark, catalog.class_folders(catalog.sources(str(folder.parent))))

    return found


@pytest.mark.parametrize(("near", "side"), [(True, 64), (False, 64), (True, 8)])
def test_groups_are_the_audits(spark, find, near, side):
    photographs = {f"{seed}.jpg": jpeg(lesion(seed)) for seed in range(30)}
    photographs |= {f"1 {i}.jpg": jpeg(how(lesion(1))) for i, how in enumerate(DISGUISES.values())}
    photographs |= {"again.jpg": photographs["2.jpg"], "tail.jpg": photographs["3.jpg"] + b"more"}
    photographs |= {"4.png": png(photographs["4.jpg"]), "5.png": png(photographs["5.jpg"])}
    flat = {f"flat {quality}.jpg": jpeg(Image.new("RGB", (300, 225), (90, 80, 70)), quality) for quality in (90, 60)}
    found = find(photographs | flat)
    whole, sketched = fingerprint_all(found, 50, MANY).persist(), read_and_sketch(found, 50, side, side, MANY).persist()
    wanted = {tuple(row) for row in audit.link(whole, None, near).groups.collect()}
    assert {tuple(row) for row in components(link_copies(sketched, near, MANY), sketched).collect()} == wanted
    decoded = []

    def decode(suspects: pd.DataFrame) -> pd.DataFrame:
        decoded.append(len(suspects))
        return whole.join(spark.createDataFrame(suspects[["id"]]), "id").toPandas()

    known = sketched.withColumn("number", F.xxhash64("id")).toPandas()
    here = group_all(known, near, decode, NO_LINKS)
    assert {tuple(row) for row in here.itertuples(index=False)} == wanted
    assert decoded[0] < len(known)
    linked = 4 + (len(DISGUISES) // 2 if near else 0)
    assert len({group for _, group in wanted}) <= len(wanted) - linked


def test_photographs_like_no_other_are_not_decoded_in_full(find, caplog):
    found = find({f"{seed}.jpg": jpeg(lesion(seed)) for seed in range(20)} | {"same.jpg": jpeg(lesion(3))})
    with caplog.at_level(logging.INFO, "dermaspark"):
        links = link_copies(read_and_sketch(found, 21, 64, 64, MANY).persist(), near=True, max_pixels=MANY)
    assert "decoding 0 photographs" in caplog.text
    assert [tuple(row) for row in links.collect()] == [("set/nevus/3.jpg", "set/nevus/same.jpg")]


@pytest.mark.parametrize("n", [0, 1, 20])
def test_nor_are_they_where_the_search_is_in_memory(n):
    ids = [f"{i:02d}.jpg" for i in range(n)]
    sketches = [fingerprint(jpeg(lesion(seed)), MANY).thumbnail for seed in range(n)]
    known = pd.DataFrame({"id": ids, "number": range(n), "byte_hash": ids, "sketch": sketches})
    known = known.assign(size="300x225", coding="JPEG RGB 1")
    asked = []

    def decode(suspects: pd.DataFrame) -> pd.DataFrame:
        asked.extend(suspects["id"])
        return pd.DataFrame(columns=["id", "pixel_hash", "thumbnail"])

    found = group_all(known, True, decode, NO_LINKS)
    assert found["group"].tolist() == found["id"].tolist() == ids
    assert asked == []
