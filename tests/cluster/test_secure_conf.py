"""conf/secure.conf does what it says: the jobs run under it, and who has no secret neither connects nor reads."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import CLASSES, draw_source

ROOT = Path(__file__).resolve().parents[2]
SECURE = ROOT / "conf" / "secure.conf"
MARKER_JOB = Path(__file__).with_name("marker_job.py")
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
OVERLAY = ("--properties-file", str(SECURE), "--load-spark-defaults")

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


def keep(folder: Path, *lines: str) -> Path:
    """A Spark configuration folder whose spark-defaults.conf only its owner may read."""
    folder.mkdir()
    file = folder / "spark-defaults.conf"
    file.touch(0o600)
    file.write_text("\n".join(lines) + "\n")
    return folder


def submit(conf: Path, master: str, *words: str) -> "subprocess.Popen[str]":
    command = ["spark-submit", "--master", master, *OVERLAY, "--conf", "spark.sql.shuffle.partitions=2"]
    for key in ("spark.driver.host", "spark.driver.bindAddress"):
        command += ["--conf", f"{key}=127.0.0.1"]
    environment = {**os.environ, "PATH": PATH, "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_CONF_DIR": str(conf)}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen([*command, *words], cwd=conf.parent, env=environment, text=True, **streams)


def run(conf: Path, master: str, *words: str) -> tuple[int, str]:
    with submit(conf, master, *words) as job:
        said = job.communicate(timeout=280)[0]
    return job.returncode, said


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A standalone cluster under secure.conf: its configuration folder and its master."""
    folder = tmp_path_factory.mktemp("secure")
    conf = keep(folder / "conf", SECURE.read_text(), "spark.authenticate.secret the right one")
    environment = {**os.environ, "PATH": PATH, "SPARK_CONF_DIR": str(conf), "DERMASPARK_CLUSTER": f"{folder}/state"}
    script = str(ROOT / "scripts" / "local_cluster.sh")
    started = subprocess.run([script, "start"], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        yield conf, started.stdout.strip()
    finally:
        subprocess.run([script, "stop"], env=environment, check=True)


@pytest.fixture(scope="module")
def secured_dataset(cluster) -> str:
    """A small dataset that was preprocessed on the secured cluster."""
    conf, master = cluster
    draw_source(conf.parent / "photographs", 6, 1, CLASSES[:2])
    places = ("input.path=photographs", "output.path=dataset")
    small = ("image.height=16", "image.width=16", "augment.copies=0")
    status, said = run(conf, master, str(ROOT / "jobs" / "preprocess.py"), *places, *small)
    assert status == 0, said
    return "data.path=dataset"


def train(cluster, *arguments: str) -> tuple[int, str]:
    small = ("model.path=model", "network.hidden=[8]", "train.epochs=1", "train.max_restarts=0")
    return run(*cluster, str(ROOT / "jobs" / "train.py"), *small, *arguments)


def test_training_is_refused_by_name_until_clear_text_is_allowed(cluster, secured_dataset):
    status, said = train(cluster, secured_dataset)
    assert status == 2
    (error,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert "spark.network.crypto.enabled=true" in error and "train.allow_clear_text=true" in error
    status, said = train(cluster, secured_dataset, "train.allow_clear_text=true")
    assert status == 0, said
    assert "weights, gradients and what ranks report pass in the clear" in said


def test_who_shows_another_secret_is_not_let_in(cluster, tmp_path):
    _, master = cluster
    stranger = keep(tmp_path / "conf", "spark.authenticate.secret a wrong one")
    with submit(stranger, master, str(MARKER_JOB), str(tmp_path)) as job:  # it would try for a minute
        assert job.stdout is not None
        said = next(line for line in job.stdout if "Failed to connect to master" in line or line.startswith("{"))
        job.kill()
    assert "Failed to connect to master" in said


def test_a_standalone_master_under_it_takes_no_applications_over_http(cluster):
    conf, _ = cluster
    assert "REST server" not in (conf.parent / "state" / "master.log").read_text()


def test_rows_are_seen_neither_on_the_wire_nor_on_disk(tmp_path):
    seen = {}
    for name, settings in {"open": "false", "secure": "true"}.items():
        (tmp_path / name).mkdir()
        secret = keep(tmp_path / f"{name}-conf", "spark.authenticate.secret any")
        off = [f"spark.{key}={settings}" for key in ("authenticate", "network.crypto.enabled", "io.encryption.enabled")]
        off += [f"spark.python.unix.domain.socket.enabled={settings}"]
        options = [word for setting in off if name == "open" for word in ("--conf", setting)]
        status, said = run(secret, "local-cluster[2,1,1024]", *options, str(MARKER_JOB), str(tmp_path / name))
        assert status == 0, said
        (line,) = [line for line in said.splitlines() if line.startswith("{")]
        seen[name] = json.loads(line)
    assert seen["secure"]["rows"] == seen["open"]["rows"] == 200
    assert seen["open"]["on_disk"] > 0, "the attack works where nothing is encrypted"
    assert seen["secure"]["on_disk"] == 0
    if seen["open"]["on_wire"] is not None:  # listening needs root
        assert seen["open"]["on_wire"] > 0
        assert seen["secure"]["on_wire"] == 0
