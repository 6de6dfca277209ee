"""What a Python process is spared that starts often or works in short tasks: imports, threads, garbage, page faults."""

import ctypes
import gc
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeAlias, TypeVar

Batches = TypeVar("Batches")
Task: TypeAlias = Callable[[Iterable[Batches]], Iterator[Batches]]

# Keras imports them for its drawings and its scikit-learn wrappers, and does without where they are not installed.
NOT_FOR_KERAS = ("matplotlib", "sklearn")
MEMORY_KEPT = 256 << 20  # bytes
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_modules_left_out = 0  # of the garbage collector's rounds in this process


def spared(function: Task[Batches]) -> Task[Batches]:
    """The same function of batches, for Spark's Python workers.

    After each task Spark has a worker collect its garbage, which goes through all that it ever imported: 90 ms with
    pandas and pyarrow, more than many a task takes. What is there after new imports is left out of that. And memory
    is kept, as by `keep_freed_memory`.
    """

    def run(batches: Iterable[Batches]) -> Iterator[Batches]:
        keep_freed_memory()
        leave_out_imports()
        yield from function(batches)

    return run


def keep_freed_memory() -> None:
    """Have the C library keep up to MEMORY_KEPT of what is freed, for the arrays to come.

    It would give them back at once and ask for new ones, which the kernel fills with zeros, page by page: a seventh of
    the time of features, a tenth of a step of the default network. Nothing where the C library has no such setting.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_M_TRIM_THRESHOLD, MEMORY_KEPT)
        set_option(_M_MMAP_THRESHOLD, MEMORY_KEPT)


def leave_out_imports() -> None:
    """Let the garbage collector pass over all that is there, where modules have come since the last time."""
    global _modules_left_out
    if len(sys.modules) > _modules_left_out:
        gc.freeze()
        _modules_left_out = len(sys.modules)


@contextmanager
def sparing_imports() -> Iterator[None]:
    """For the import of TensorFlow and Keras: 11 s become 6, by what they don't need and by no search for garbage."""
    hidden = [name for name in NOT_FOR_KERAS if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: importing it is an ImportError
    gc.disable()
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
        leave_out_imports()
        gc.enable()


@contextmanager
def sparing_tensorflow() -> Iterator[None]:
    """For TensorFlow's import and first use in a Python worker of Spark: no GPU, and nothing on stderr.

    Workers share the cores, so each gets its own task's share of threads.
    """
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, os.environ.get("SPARK_TASK_CPUS", "1"))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    with _nothing_on_stderr(), sparing_imports():
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
