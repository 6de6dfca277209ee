"""The scale test judges what it measured: memory against a bound, time against the number of photographs."""

import pytest
from scale import OF_LESION, Cost, draw, find_faults


def cost(photographs: int, seconds: float, mebibytes: int, job: str = "audit") -> Cost:
    return Cost(job, photographs, seconds, {"JVM": mebibytes << 19, "Python": mebibytes << 19})


def test_ten_times_the_time_and_no_more_memory_is_no_fault():
    assert find_faults([cost(100, 50, 800), cost(1000, 500, 900), cost(100, 1, 9, "preprocess")]) == []


@pytest.mark.parametrize(("seconds", "mebibytes", "named"), [(560, 800, "11.20 times the time"), (1, 930, "memory")])
def test_what_grows_faster_is_named(seconds, mebibytes, named):
    (fault,) = find_faults([cost(100, 50, 800), cost(1000, seconds, mebibytes)])
    assert fault.startswith("audit of 1,000 photographs: ") and named in fault


def test_a_set_is_as_large_as_asked_for_and_no_two_photographs_are_alike(tmp_path):
    draw(tmp_path, 101)
    files = sorted((tmp_path / "photographs").glob("*/*/*.jpg"))
    assert len({file.read_bytes() for file in files}) == len(files) == 101
    rows = (tmp_path / "lesions.csv").read_text().split()[1:]
    assert len(rows) == 101 and len({row.split(",")[1] for row in rows}) == -(-101 // OF_LESION)
