"""Owns the launcher: Horovod ranks as one Spark barrier stage, in the manner of Spark's TorchDistributor."""

from __future__ import annotations

import ipaddress
import logging
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

import cloudpickle
from py4j.protocol import Py4JNetworkError
from pyspark.sql import SparkSession

from dermaspark.errors import UserError
from dermaspark.launch.attempt import Attempt, LaunchError, OnMessage, SparkJob
from dermaspark.launch.channel import Channel
from dermaspark.launch.deaths import Death
from dermaspark.launch.interfaces import find_interface
from dermaspark.launch.supervisor import supervise

__all__ = ["Death", "HorovodDistributor", "LaunchError"]

SLOT_POLL_SECONDS = 0.5

# With any of these Spark encrypts what passes between its processes.
ENCRYPTION_KEYS = (
    "spark.ssl.enabled",
    "spark.ssl.rpc.enabled",
    "spark.network.crypto.enabled",
    "spark.authenticate.enableSaslEncryption",
)

_log = logging.getLogger("dermaspark")


class HorovodDistributor:
    """Runs a function on `num_processes` Horovod ranks, one fresh process in each task of a barrier stage.

        HorovodDistributor(spark, num_processes=2).run(train, 1e-3)

    The function is pickled by cloudpickle, finds HOROVOD_RANK and its kin in the environment, and calls
    `hvd.init()` itself. In it `dermaspark.rank.report(**message)` has `on_message(rank, message)` called, in
    the thread that called `run`, and `dermaspark.rank.context()` tells the attempt and the deaths before it.
    What rank 0 writes to standard output and error appears on the driver's as it comes.

    A rank that dies, or reports nothing for `stall_minutes`, ends all others; they are started again at most
    `max_restarts` times. `deaths` has the death that ended each start that failed.
    """

    def __init__(
        self,
        spark: SparkSession,
        num_processes: int,
        *,
        use_gpu: bool = False,
        network_interface: str | None = None,
        max_restarts: int = 0,
        stall_minutes: float = 10.0,
        slots_timeout: float = 30.0,
        allow_clear_text: bool = False,
        on_message: OnMessage | None = None,
    ) -> None:
        """
        use_gpu: show each rank the GPUs that Spark gave its task; otherwise it sees none.
        network_interface: the one that ranks talk through (lo, eth0); by default that of the host's address
            in Spark.
        slots_timeout: seconds to wait for executors to register, at the start and after a death.
        allow_clear_text: run even though Spark is told to encrypt, which Horovod can't.
        """
        self._context = spark.sparkContext
        self._num_processes = num_processes
        self._task = partial(supervise, network_interface=network_interface, use_gpu=use_gpu)
        self._max_restarts = max_restarts
        self._stall_minutes = stall_minutes
        self._slots_timeout = slots_timeout
        self._allow_clear_text = allow_clear_text
        self._on_message = on_message
        self.deaths: list[Death] = []

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """What `function(*args)` returned on rank 0.

        Raises UserError where the ranks can't be started or one of them raised a UserError (which no restart
        would mend), LaunchError where one died and no restart was left.
        """
        self._refuse_what_cannot_work()
        self.deaths = []
        while True:
            self._wait_for_slots()
            try:
                return self._start(function, args)
            except LaunchError as error:
                self._mourn(error.death)
                if len(self.deaths) > self._max_restarts:
                    raise
            _log.warning("starting the ranks again: restart %d of %d", len(self.deaths), self._max_restarts)

    def _start(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        number = len(self.deaths)
        orders = cloudpickle.dumps((function, args, number, tuple(self.deaths)))
        with closing(Channel(_listening_address(self._conf), self._num_processes)) as channel:
            driver = (self._conf("spark.driver.host"), channel.port)
            task = partial(self._task, driver=driver, secret=channel.secret, orders=orders)
            job = SparkJob(self._context, self._num_processes, task)
            return Attempt(number, job, channel, self._stall_minutes, self._on_message).run()

    def _mourn(self, death: Death) -> None:
        self.deaths.append(death)
        lines = "".join(f"\n  | {line}" for line in death.lines)
        _log.error("%s%s%s", death, "; its last lines:" if lines else "", lines)

    def _refuse_what_cannot_work(self) -> None:
        if self._conf("spark.dynamicAllocation.enabled").lower() == "true":
            raise UserError("spark.dynamicAllocation.enabled=true: Spark runs no barrier stage then; set it to false")
        encrypting = [key for key in ENCRYPTION_KEYS if self._conf(key).lower() == "true"]
        if encrypting and not self._allow_clear_text:
            raise UserError(
                f"{encrypting[0]}=true, but Horovod's traffic between ranks is not encrypted: "
                "set train.allow_clear_text=true if the network is trusted"
            )
        if encrypting:
            _log.warning("%s=true, but weights, gradients and what ranks report pass in the clear", encrypting[0])

    def _wait_for_slots(self) -> None:
        """UserError where Spark can't run all ranks at once; executors still to register are waited for."""
        deadline = time.monotonic() + self._slots_timeout
        while (slots := self._count_slots()) < self._num_processes:
            if time.monotonic() >= deadline or self._context._jsc.sc().isLocal():
                raise UserError(
                    f"train.num_processes={self._num_processes} needs {self._num_processes} task slots, the "
                    f"cluster has {slots}: lower it, or give Spark more cores or fewer spark.task.cpus"
                )
            time.sleep(SLOT_POLL_SECONDS)

    def _count_slots(self) -> int:
        """How many tasks Spark can run at once, as it counts before it starts a barrier stage."""
        try:
            scheduler = self._context._jsc.sc()
            profile = scheduler.resourceProfileManager().defaultResourceProfile()
            return int(scheduler.maxNumConcurrentTasks(profile))
        except (Py4JNetworkError, ConnectionError) as error:
            raise RuntimeError("Spark's JVM in the driver is gone") from error

    def _conf(self, key: str) -> str:
        return self._context.getConf().get(key, "") or ""


def _listening_address(conf: Callable[[str], str]) -> str:
    """The one address at which the driver hears the ranks: Spark's own, never all interfaces."""
    bind = conf("spark.driver.bindAddress")
    try:
        everywhere = ipaddress.ip_address(bind).is_unspecified
    except ValueError:  # a name, or nothing
        everywhere = not bind
    return find_interface(conf("spark.driver.host") if everywhere else bind)[1]
