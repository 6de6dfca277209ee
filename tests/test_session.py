"""The session's settings for one machine, and that what spark-submit was told goes before them."""

import json
import os
import subprocess
from pathlib import Path

import pytest

LIB = Path(__file__).resolve().parents[1] / "lib"
SAY = """
import json
from dermaspark.session import spark_session
names = ("spark.sql.shuffle.partitions", "spark.sql.adaptive.enabled", "spark.driver.host")
with spark_session("settings", "info") as spark:
    print(json.dumps({name: spark.conf.get(name) for name in names}))
"""


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([], ["6", "false", "127.0.0.1"]),
        (
            ["spark.sql.shuffle.partitions=5", "spark.sql.adaptive.enabled=true", "spark.driver.host=localhost"],
            ["5", "true", "localhost"],
        ),
    ],
)
def test_settings_of_one_machine_give_way_to_what_was_told(tmp_path, told: list[str], expected: list[str]):
    job = tmp_path / "say.py"
    job.write_text(SAY)
    command = ["spark-submit", "--master", "local[3]", *[word for each in told for word in ("--conf", each)], str(job)]
    environment = {**os.environ, "PYTHONPATH": str(LIB)}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert said.returncode == 0, said.stderr[-2000:]
    assert list(json.loads(said.stdout.splitlines()[-1]).values()) == expected
