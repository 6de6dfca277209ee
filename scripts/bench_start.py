"""Owns the time from spark-submit to the first training step, by our launcher and by Horovod's own.

As a program it is the job that Horovod's launcher is given: the same function of the same library.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 300  # for it to end
FIRST_STEP = "epoch 1  step 1/"  # as run.Console tells it


def seconds_to_first_step(launcher: str, given: dict[str, Any], folder: Path) -> float:
    """Seconds from spark-submit to the end of the first step on two ranks."""
    rows = [f"data.path={given['dataset']}", f"model.path={folder}/model-start", "overwrite=true", "train.epochs=1"]
    settings = ["--config", given["config"], *rows, "train.num_processes=2", "train.copies_per_epoch=1"]
    job = [str(ROOT / "jobs" / "train.py")] if launcher == "launcher" else [__file__]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "SPARK_LOCAL_IP": "127.0.0.1"}
    command = ["spark-submit", "--master", "local[2]", *job, *settings]
    said = []
    began = time.monotonic()
    with subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if FIRST_STEP in line:
                seconds = time.monotonic() - began
    if process.returncode or not any(FIRST_STEP in line for line in said):
        sys.exit(f"{launcher} failed:\n{''.join(said[-30:])}")
    return seconds


def main() -> None:
    """jobs/train.py's function by horovod.spark.run."""
    sys.path.insert(0, str(ROOT / "lib"))
    import horovod.spark
    from dermaspark.command_line import load
    from dermaspark.session import spark_session
    from dermaspark.storage import resolve

    config = load(sys.argv[1:], ROOT / "conf" / "default.yaml")
    model = resolve(config.model.path) + "-horovod"
    urls = {"data": resolve(config.data.path), "model": model, "checkpoints": f"{model}.checkpoints-{os.getpid()}"}
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "lib"),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
    }
    environment |= dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")
    with spark_session("dermaspark bench", "info"):
        horovod.spark.run(run_rank, args=(config, urls), num_proc=2, env=environment, use_gloo=True, verbose=0)


def run_rank(config: Any, urls: dict[str, str]) -> None:
    """As dermaspark.run.run_rank, but that it tells of its progress on standard output."""
    from dermaspark.sparing import sparing_imports

    with sparing_imports():  # as in a rank of our launcher
        from dermaspark.training import train_rank

    def report(**message: Any) -> None:
        if message["event"] == "step":
            print(f"epoch {message['epoch'] + 1}  step {message['step']}/{message['steps']}", flush=True)

    train_rank(config, urls, [], report)


if __name__ == "__main__":
    main()
