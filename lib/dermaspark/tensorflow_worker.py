"""TensorFlow in a Python worker of Spark: as many threads as the task has cores, no GPU, and nothing on stderr."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def sparing_tensorflow() -> Iterator[None]:
    """For its import and first use; workers share the cores, so each gets its own task's share of threads."""
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, os.environ.get("SPARK_TASK_CPUS", "1"))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    with _nothing_on_stderr():
        yield


@contextmanager
def _nothing_on_stderr() -> Iterator[None]:
    """For TensorFlow's greetings, which come from C++ before it has read TF_CPP_MIN_LOG_LEVEL; errors are raised."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
