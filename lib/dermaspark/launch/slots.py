"""Owns which of Horovod's ranks each task of the stage becomes, and how the ranks find one another."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from horovod.runner.common.util.hosts import HostInfo, get_host_assignments

from dermaspark.errors import UserError


@dataclass(frozen=True)
class Place:
    """Where a task runs: Spark's name of its host, its address there, and the rendezvous' port (task 0)."""

    host: str
    address: str
    port: int | None = None


def assign_ranks(places: list[Place]) -> list[dict[str, str]]:
    """Horovod's environment of the rank of each task, in the order of the tasks; task 0 is rank 0.

    Ranks on one host are neighbours, as Horovod wants them, so a task's rank need not be its number.
    UserError where some ranks can't reach the others.
    """
    _refuse_loopback_among_others(places)
    hosts = [place.host for place in places]
    in_order = list(dict.fromkeys(hosts))
    slots = get_host_assignments([HostInfo(host, hosts.count(host)) for host in in_order], len(hosts))
    free = {host: iter([slot for slot in slots if slot.hostname == host]) for host in in_order}
    # The names are those of horovod.runner.gloo_run, which would bring elastic Horovod along.
    return [
        {
            "HOROVOD_HOSTNAME": slot.hostname,
            "HOROVOD_RANK": str(slot.rank),
            "HOROVOD_SIZE": str(slot.size),
            "HOROVOD_LOCAL_RANK": str(slot.local_rank),
            "HOROVOD_LOCAL_SIZE": str(slot.local_size),
            "HOROVOD_CROSS_RANK": str(slot.cross_rank),
            "HOROVOD_CROSS_SIZE": str(slot.cross_size),
            "HOROVOD_GLOO_RENDEZVOUS_ADDR": places[0].address,
            "HOROVOD_GLOO_RENDEZVOUS_PORT": str(places[0].port),
        }
        for slot in (next(free[host]) for host in hosts)
    ]


def _refuse_loopback_among_others(places: list[Place]) -> None:
    loopback = [place for place in places if ipaddress.ip_address(place.address).is_loopback]
    if loopback and len(loopback) < len(places):
        raise UserError(
            f"Spark knows {loopback[0].host} as {loopback[0].address}, which other machines can't reach: "
            "set SPARK_LOCAL_IP there, or train.network_interface"
        )
