"""Owns the model of what many hosts would cost, from constants that the benchmark measures on one machine.

    python scripts/cost_model.py bench.json > docs/cost_model.md

A step on p ranks of 256 rows each is compute + allreduce. A ring allreduce of G bytes sends 2 (p - 1) messages,
each of G / p bytes (Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms", 2009):
2 (p - 1) latency + 2 (p - 1) / p G seconds_a_byte. Nothing is taken to overlap, as the first layer's gradient, nearly
all of G, comes last.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

USEFUL = 0.5  # a number of ranks is useful while each does at least this share of what it would do alone
LINKS = {"10 Gb/s": 10e9, "100 Gb/s": 100e9}
HOP_SECONDS = 50e-6  # of a message between hosts, added to what the software takes: TCP in one data centre
MOST_RANKS = 1 << 16
PHOTOGRAPHS = (1_000_000, 10_000_000, 100_000_000)
CORES = (2, 16, 128, 1024)


class Exchange(NamedTuple):
    """What sending costs."""

    latency: float  # seconds a message
    seconds_a_byte: float


class Network(NamedTuple):
    """What a neural network costs a rank."""

    gradient_bytes: int
    row_bytes: int
    batch: int  # rows of a rank's step
    rows_a_second: float  # of a rank alone


def fit(seconds: Mapping[int, float]) -> Exchange:
    """Latency and bandwidth from measured allreduces of so many bytes on two ranks: the least and the most decide.

    On two ranks a ring takes 2 latency + G seconds_a_byte.
    """
    small, large = min(seconds), max(seconds)
    slope = max(0.0, (seconds[large] - seconds[small]) / (large - small))
    return Exchange(max(0.0, seconds[small] - slope * small) / 2, slope)


def over(exchange: Exchange, bits_a_second: float) -> Exchange:
    """The same software over a link: it handles the bytes and the link carries them."""
    return Exchange(exchange.latency + HOP_SECONDS, exchange.seconds_a_byte + 8 / bits_a_second)


def allreduce_seconds(size: int, ranks: int, exchange: Exchange) -> float:
    """Of `size` bytes over a ring of `ranks`; nothing for one."""
    return 2 * (ranks - 1) * (exchange.latency + size / ranks * exchange.seconds_a_byte)


def step_seconds(network: Network, ranks: int, exchange: Exchange) -> float:
    compute = network.batch / network.rows_a_second
    return compute + allreduce_seconds(network.gradient_bytes, ranks, exchange)


def efficiency(network: Network, ranks: int, exchange: Exchange) -> float:
    """What a rank does among `ranks`, against what it does alone."""
    return network.batch / network.rows_a_second / step_seconds(network, ranks, exchange)


def largest_useful(network: Network, exchange: Exchange) -> int:
    """The most ranks, up to MOST_RANKS, at an efficiency of USEFUL; it falls with every rank."""
    low, high = 1, MOST_RANKS
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if efficiency(network, middle, exchange) >= USEFUL else (low, middle - 1)
    return low


def predictions(constants: Mapping[str, Any]) -> dict[str, Any]:
    """What the benchmark's JSON says of many hosts; parts whose constants were not measured are left out."""
    result: dict[str, Any] = {}
    if "allreduce_seconds" in constants and "networks" in constants:
        measured = constants["allreduce_seconds"]
        exchanges = {way: fit({int(size): x for size, x in each.items()}) for way, each in measured.items()}
        result["exchanges"] = {way: exchange._asdict() for way, exchange in exchanges.items()}
        result["networks"] = {name: _of_network(each, exchanges) for name, each in constants["networks"].items()}
    if "preprocess_rate_a_core" in constants:
        a_core = 3600 * constants["preprocess_rate_a_core"]
        result["preprocessing_hours"] = {str(n): {str(c): n / a_core / c for c in CORES} for n in PHOTOGRAPHS}
    return result


def _of_network(constants: Mapping[str, Any], exchanges: Mapping[str, Exchange]) -> dict[str, Any]:
    network = Network(*(constants[name] for name in Network._fields))
    links = {name: over(exchanges["hosts"], bits) for name, bits in LINKS.items()}
    return {
        "two_ranks_predicted": 2 * network.batch / step_seconds(network, 2, exchanges["one host"]),
        "two_ranks_measured": constants["two_ranks_measured"],
        "input_bytes_a_second_a_rank": network.row_bytes * network.rows_a_second,
        "largest_useful_ranks": {name: largest_useful(network, link) for name, link in links.items()},
        "efficiency": {
            name: {str(ranks): efficiency(network, ranks, link) for ranks in (2, 8, 32, 128)}
            for name, link in links.items()
        },
    }


def page(document: Mapping[str, Any]) -> str:
    """Markdown from the benchmark's JSON."""
    model, settings = document["cost_model"], document["settings"]
    lines = [
        "# What many hosts would cost",
        "",
        "Made by `python scripts/cost_model.py BENCH.json` from constants that `make bench` measured on one machine of",
        f"{settings['cores']} cores; a rank has one of them. A step on p ranks takes its compute and then a ring",
        "allreduce of the gradient's G bytes, 2 (p - 1) (latency + G / p x seconds a byte); nothing overlaps. A link",
        f"adds its own seconds a byte, and {HOP_SECONDS * 1e6:.0f} us a message. Ranks of one host exchange through",
        "memory that they share; hosts through Horovod, whose cost was measured over loopback. Nothing was measured",
        "on more than two ranks. Between hosts Horovod's thread looks for work every millisecond, which slowed two",
        "ranks of one core each by a fifth where it was tried on one host; that is not in the steps here.",
    ]
    if "networks" in model:
        lines.append("")
        lines += [
            f"Fitted, {way}: latency {exchange['latency'] * 1e6:.0f} us, "
            f"{1e-9 / max(exchange['seconds_a_byte'], 1e-15):.2f} GB/s."
            for way, exchange in model["exchanges"].items()
        ]
        lines += [
            f"A number of ranks is useful while the efficiency is at least {USEFUL}, at the same batch a rank.",
            "",
            "| network | 2 ranks, rows/s: predicted | measured | input a rank | useful ranks at "
            + " | at ".join(LINKS)
            + " |",
            "|---|---|---|---|" + "---|" * len(LINKS),
        ]
        for name, each in model["networks"].items():
            useful = " | ".join(f"{ranks:,}" for ranks in each["largest_useful_ranks"].values())
            lines.append(
                f"| {name} | {each['two_ranks_predicted']:,.0f} | {each['two_ranks_measured']:,.0f} "
                f"| {each['input_bytes_a_second_a_rank'] / 1e6:.0f} MB/s | {useful} |"
            )
    if hours := model.get("preprocessing_hours"):
        count = settings["photographs"]
        lines += ["", f"Hours of preprocessing (600x450, eight copies), by cores, at the rate of a run of {count:,}"]
        lines += ["photographs that were divided on executors, as more than 12,000 are. What any run costs at first"]
        lines += ["is in that rate, so these hours are an upper bound:", ""]
        lines += ["| photographs | " + " | ".join(f"{c:,}" for c in CORES) + " |", "|---|" + "---|" * len(CORES)]
        for n, row in hours.items():
            rounded = [float(f"{value:.2g}") for value in row.values()]
            lines.append(f"| {int(n):,} | " + " | ".join(f"{value:,g}" for value in rounded) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))), end="")
