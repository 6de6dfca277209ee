"""Owns what happens in a Spark task of the stage: one fresh process is started, listened to, not outlived.

A task ends well also when its rank died: the driver hears of the death on the channel and stops the other
ranks, so that Spark has no failed stage to report, to retry or to clean up after. Only the loss of the task
itself (its executor, its Python worker) is a failure to Spark.
"""

from __future__ import annotations

import io
import os
import select
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pyspark import BarrierTaskContext

from dermaspark.errors import UserError
from dermaspark.launch.channel import connect, pack, receive
from dermaspark.launch.child import Child
from dermaspark.launch.deaths import describe
from dermaspark.launch.interfaces import find_interface
from dermaspark.launch.rendezvous import rendezvous
from dermaspark.rank import read_pickle

BEAT_SECONDS = 0.1  # between two looks at what no pipe tells
GLOO_SECONDS = 120  # for the slowest rank to come to hvd.init(); Horovod's default is 30


class OrphanedWorkerError(Exception):
    """Nothing ends this worker any more when its executor dies, so Spark must not give it another task."""


def supervise(
    _rows: Iterator[int],
    *,
    driver: tuple[str, int],
    secret: str,
    orders: bytes,
    network_interface: str | None,
    use_gpu: bool,
) -> Iterator[Any]:
    """Runs one rank in a task of a barrier stage; task 0, which is rank 0, yields what its function returned.

    orders: the pickle of (function, arguments, attempt, deaths), handed unopened to the rank's process.
    OSError where the driver can't be reached.
    """
    task = BarrierTaskContext.get()
    with connect(driver, secret, task.partitionId()) as channel:
        try:
            answer = _run_rank(task, channel, orders, network_interface, use_gpu)
        except (ConnectionError, TimeoutError):
            return  # nobody is left to be told: the driver is gone, or has given up this start of the ranks
        except Exception as error:
            channel.sendall(pack({"error": describe(error)}))
            _say_goodbye(channel, returned=False)
            if isinstance(error, OrphanedWorkerError):
                raise
            return
    if answer and task.partitionId() == 0:
        yield read_pickle(io.BytesIO(answer))


def _run_rank(
    task: BarrierTaskContext,
    channel: socket.socket,
    orders: bytes,
    network_interface: str | None,
    use_gpu: bool,
) -> bytes:
    """What the rank's process answered; nothing where it did not return."""
    me = task.partitionId()
    host = task.getTaskInfos()[me].address.rsplit(":", 1)[0]
    interface, address = find_interface(host, network_interface)
    environment = _environment(task, interface, use_gpu)
    with ExitStack() as resources:
        port = resources.enter_context(rendezvous(address)) if me == 0 else None
        channel.sendall(pack({"ready": {"host": host, "address": address, "port": port}}))
        start = receive(channel)
        if start is None:
            return b""
        # What a killed rank leaves goes with this folder, or with Spark's own where this worker is killed too.
        folder = os.environ.get("SPARK_LOCAL_DIRS", "").split(",")[0] or None
        scratch = tempfile.TemporaryDirectory(prefix="rank-", dir=folder, ignore_cleanup_errors=True)
        environment |= start["environment"] | {"TMPDIR": resources.enter_context(scratch)}
        child = resources.enter_context(Child(environment, orders, channel.sendall))
        _attend(child, channel)
        _say_goodbye(channel, child.returned, child.code)
        return child.answer


def _say_goodbye(channel: socket.socket, returned: bool, code: int | None = None) -> None:
    channel.sendall(pack({"ended": {"returned": returned, "code": code}}))


def _attend(child: Child, channel: socket.socket) -> None:
    """Listens until the rank's process has ended, or must."""
    parent = os.getppid()
    while child.listen(BEAT_SECONDS):
        if select.select([channel], [], [], 0)[0]:  # the driver says nothing more but the end of its stream
            child.end()
        elif os.getppid() != parent:
            raise OrphanedWorkerError("Spark's daemon of Python workers died on its host")


def _environment(task: BarrierTaskContext, interface: str, use_gpu: bool) -> dict[str, str]:
    """Of the rank's process, but for its rank. It finds what this task finds on its path (addPyFile)."""
    threads = str(task.cpus())
    spark_secrets = {key for key in os.environ if key.startswith("PYTHON_WORKER_FACTORY")}
    return {key: value for key, value in os.environ.items() if key not in spark_secrets} | {
        "PYTHONPATH": os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path if entry),
        "PYTHONUNBUFFERED": "1",
        "CUDA_VISIBLE_DEVICES": ",".join(_gpus(task)) if use_gpu else "",
        "OMP_NUM_THREADS": threads,
        "TF_NUM_INTRAOP_THREADS": threads,
        "TF_NUM_INTEROP_THREADS": threads,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "HOROVOD_CONTROLLER": "gloo",
        "HOROVOD_CPU_OPERATIONS": "gloo",
        "HOROVOD_GLOO_IFACE": interface,
        "HOROVOD_GLOO_TIMEOUT_SECONDS": str(GLOO_SECONDS),
        "NCCL_SOCKET_IFNAME": interface,
    }


def _gpus(task: BarrierTaskContext) -> list[str]:
    if "gpu" not in task.resources():
        raise UserError(
            "train.use_gpu=true, and Spark gave the rank's task none: "
            "set spark.executor.resource.gpu.amount and spark.task.resource.gpu.amount"
        )
    return list(task.resources()["gpu"].addresses)
