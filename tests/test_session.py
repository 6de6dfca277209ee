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


INTERRUPTED = """
import os, signal, threading, time
from pathlib import Path
from dermaspark import job

def work(spark, config):
    def interrupt():
        while not spark.sparkContext.statusTracker().getActiveJobsIds():
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=interrupt, daemon=True).start()
    spark.range(1).rdd.foreach(lambda _: time.sleep(60))

job.run("interrupted", work, Path(__file__).parent)
"""


@pytest.mark.parametrize("level", ["info", "debug"])
def test_an_interrupted_job_says_so_in_a_line_and_where_at_debug_level_alone(tmp_path, level):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "default.yaml").write_text("")
    (tmp_path / "jobs").mkdir()
    job = tmp_path / "jobs" / "job.py"
    job.write_text(INTERRUPTED)
    command = ["spark-submit", "--master", "local[1]", str(job), f"log_level={level}"]
    environment = {**os.environ, "PYTHONPATH": str(LIB)}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert said.returncode != 0 and "error: interrupted" in said.stderr
    assert ("Traceback" in said.stdout + said.stderr) == (level == "debug")
