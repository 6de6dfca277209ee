"""The benchmark's promises: every stage is measured, by the names that others read, and nothing is left running."""

import json
import re
from pathlib import Path

import bench
import bench_photographs
import psutil
import pytest
from bench_sides import Side
from dermaspark.errors import UserError
from PIL import Image
from sample_photographs import draw_set

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"

CONTRACT = {
    "preprocess_vs_bare_loop",
    "preprocess_vs_naive",
    "stream_vs_pyarrow",
    "train_vs_memory",
    "two_ranks_vs_two_processes",
    "score_vs_memory",
}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench") / "drawn"
    draw_set(folder, seed=0, train=3, test=1)
    return folder


def test_a_set_is_enlarged_and_no_two_photographs_of_it_are_the_same(photographs, tmp_path):
    given = len(bench_photographs.find(photographs))
    bench_photographs.make_set(photographs, tmp_path / "set", 2 * given, (600, 450))
    made = bench_photographs.find(tmp_path / "set")
    assert len({path.read_bytes() for path in made}) == 2 * given
    assert {Image.open(path).size for path in made} == {(600, 450)}
    assert {path.parent.name for path in made} == {path.parent.name for path in bench_photographs.find(photographs)}


def test_an_empty_folder_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match=str(tmp_path)):
        bench_photographs.make_set(tmp_path, tmp_path / "set", 2, (8, 8))


def test_a_side_that_fails_says_why():
    with pytest.raises(SystemExit, match="nowhere.yaml"):
        Side("bare", {"config": "nowhere.yaml"})


def test_every_ratio_of_the_contract_has_a_stage():
    kept = set(re.findall(r'keep\(\s*"(\w+)"', (SCRIPTS / "bench_stages.py").read_text()))
    assert kept >= CONTRACT
    assert kept >= {*bench.AT_LEAST, *bench.AT_MOST}


@pytest.mark.timeout(900)
def test_stages_come_out_as_ratios_and_nothing_is_left_running(photographs, tmp_path):
    out = tmp_path / "bench.json"
    small = ["--seconds", "0.2", "--photographs", "60", "--config", str(SCRIPTS.parent / "conf" / "seed.yaml")]
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    assert bench.main(["--input", str(photographs), "--out", str(out), *small, "--stages", "stream", "score"]) == 0
    document = json.loads(out.read_text())
    assert document["ratios"].keys() == {"stream_vs_pyarrow", "score_vs_memory"}
    assert all(value > 0 for value in document["ratios"].values())
    assert {process.pid for process in psutil.Process().children(recursive=True)} <= before
