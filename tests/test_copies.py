"""Copies are found, in whatever disguise; different lesions are not called copies."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from dermaspark.copies import count_pairs, near_copies, same_pixels
from dermaspark.fingerprint import fingerprint
from dermaspark.groups import star
from disguise import DISGUISES, jpeg, lesion
from PIL import Image

SCHEMA = "id string, byte_hash string, pixel_hash string, thumbnail binary"
MANY = 10**9
DRAWN = 20
REAL = 60


def row(name: str, data: bytes) -> tuple:
    facts = fingerprint(data, MANY)
    return name, facts.byte_hash, facts.pixel_hash, facts.thumbnail


def pair(a: str, b: str) -> tuple[str, str]:
    return (a, b) if a < b else (b, a)


def found_pairs(spark, rows: list[tuple]) -> set[tuple[str, str]]:
    found = near_copies(spark.createDataFrame(rows, SCHEMA)).pairs.collect()
    assert all(one["id_a"] < one["id_b"] for one in found)
    return {(one["id_a"], one["id_b"]) for one in found}


def hashes(spark, values: list[tuple[str, str | None, str | None]]):
    return spark.createDataFrame(values, "id string, byte_hash string, pixel_hash string")


@pytest.fixture(scope="module")
def drawn(spark) -> set[tuple[str, str]]:
    """The pairs found among 100 drawn lesions, DRAWN of them in every disguise."""
    rows = [row(f"{seed:03d}/original", jpeg(lesion(seed))) for seed in range(100)]
    for seed in range(DRAWN):
        rows += [row(f"{seed:03d}/{name}", jpeg(how(lesion(seed)))) for name, how in DISGUISES.items()]
    return found_pairs(spark, rows)


@pytest.mark.parametrize("name", DISGUISES)
def test_a_copy_in_disguise_is_found(drawn, name):
    found = [pair(f"{seed:03d}/{name}", f"{seed:03d}/original") in drawn for seed in range(DRAWN)]
    assert np.mean(found) >= 0.95


def test_different_lesions_are_not_copies(drawn):
    assert [(a, b) for a, b in drawn if a[:3] != b[:3]] == []


@pytest.fixture(scope="module")
def photographed(spark) -> tuple[set[tuple[str, str]], dict[str, str], list[str]]:
    """Pairs found among real photographs and disguised copies of REAL of them; the lesion of each photograph."""
    folder = os.environ.get("DERMASPARK_ISIC9")
    if not folder:
        pytest.skip("DERMASPARK_ISIC9 names no folder of real photographs")
    with open(Path(folder) / "lesions.csv") as table:
        lesions = dict(line.strip().split(",") for line in table)
    files = {path.stem: path for path in sorted(Path(folder).glob("T*/*/*.jpg")) if path.stem in lesions}
    rows = [row(f"{stem}/original", path.read_bytes()) for stem, path in files.items()]
    disguised = sorted(files)[:: len(files) // REAL]
    for stem in disguised:
        image = Image.open(io.BytesIO(files[stem].read_bytes())).convert("RGB")
        rows += [row(f"{stem}/{name}", jpeg(how(image))) for name, how in DISGUISES.items()]
    return found_pairs(spark, rows), lesions, disguised


@pytest.mark.parametrize("name", DISGUISES)
def test_a_real_photograph_in_disguise_is_found(photographed, name):
    pairs, _, disguised = photographed
    found = [pair(f"{stem}/{name}", f"{stem}/original") in pairs for stem in disguised]
    assert np.mean(found) >= 0.95


def test_at_most_one_false_pair_in_1000_real_photographs(photographed):
    pairs, lesions, _ = photographed
    false = {(a[:12], b[:12]) for a, b in pairs if lesions[a[:12]] != lesions[b[:12]]}
    assert len(false) <= len(lesions) / 1000


def test_the_same_pixels_stand_once_in_the_search_and_count_for_all(spark):
    rows = [row("a", jpeg(lesion(1))), row("b", jpeg(lesion(1), 60)), row("c", jpeg(lesion(1), 60))]
    [found] = near_copies(spark.createDataFrame(rows, SCHEMA)).pairs.collect()
    assert (found["id_a"], found["id_b"], found["pairs"]) == ("a", "b", 2)


def test_likeness_does_not_depend_on_names_or_partitions(spark):
    pictures = [jpeg(lesion(seed)) for seed in range(20)] + [jpeg(lesion(seed), 40) for seed in range(20)]
    rows = [row(f"{i:02d}", data) for i, data in enumerate(pictures)]
    results = [sorted(near_copies(spark.createDataFrame(rows, SCHEMA).repartition(n)).pairs.collect()) for n in (1, 5)]
    assert results[0] == results[1]
    assert len(results[0]) == 20


def test_pairs_are_counted_from_the_sizes_of_the_sets(spark):
    table = hashes(spark, [(str(i), "x" if i < 1000 else "y", "p") for i in range(1003)] + [("z", None, None)])
    assert count_pairs(table, "byte_hash") == 1000 * 999 // 2 + 3
    assert count_pairs(table, "pixel_hash") == 1003 * 1002 // 2
    assert count_pairs(table.limit(0), "byte_hash") == 0


def test_links_join_each_photograph_with_the_first_of_its_set(spark):
    table = hashes(spark, [("c", "x", "p"), ("a", "x", "p"), ("b", "y", "p"), ("d", None, None), ("e", None, None)])
    assert sorted(map(tuple, star(table, "byte_hash").collect())) == [("a", "c")]
    pairs = sorted(map(tuple, same_pixels(table.dropna()).collect()))
    assert pairs == [("a", "b", "pixels"), ("a", "c", "bytes")]
