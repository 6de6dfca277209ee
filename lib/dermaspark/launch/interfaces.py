"""Owns which network interface of a machine the ranks talk through (IPv4, as Horovod's rendezvous is)."""

from __future__ import annotations

import ipaddress
import socket

import psutil

from dermaspark.errors import UserError


def find_interface(host: str, name: str | None = None) -> tuple[str, str]:
    """This machine's interface called `name`, or else the one that holds the address of `host`.

    Returns its name and IPv4 address. UserError where there is none.
    """
    addresses = {
        interface: [entry.address for entry in entries if entry.family == socket.AF_INET]
        for interface, entries in psutil.net_if_addrs().items()
    }
    if name is not None:
        if not addresses.get(name):
            known = ", ".join(sorted(interface for interface, held in addresses.items() if held))
            raise UserError(f"train.network_interface={name}: {host} has none with IPv4; it has {known}")
        return name, addresses[name][0]
    wanted = _resolve(host)
    if ipaddress.ip_address(wanted).is_loopback:
        wanted = "127.0.0.1"  # the rest of 127.0.0.0/8 (Debian's 127.0.1.1) stands on no interface by name
    for interface, held in addresses.items():
        if wanted in held:
            return interface, wanted
    raise UserError(
        f"no interface of this machine holds {wanted}, by which Spark knows {host}: "
        "set train.network_interface, SPARK_LOCAL_IP or spark.driver.bindAddress"
    )


def _resolve(host: str) -> str:
    try:
        return socket.gethostbyname(host)
    except OSError as error:
        raise UserError(f"Spark knows this machine as {host}, which has no IPv4 address: {error}") from error
