"""Owns the benchmark: each stage against what its machine can do, in alternation, as a table and as JSON.

    python scripts/bench.py --input photographs --out bench.json [--config conf/seed.yaml ...] [--seconds 20]

A ratio is the median over rounds in which both sides took a turn. A side is a process (or several) that stands
still while others work, and whose session, graphs and caches were there before its first turn.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

import cost_model
from bench_photographs import make_set
from bench_stages import CORES, SIZE, STAGES, Bench, make_datasets, say
from dermaspark.errors import UserError

AT_LEAST = {
    "preprocess_vs_bare_loop": 0.70,
    "preprocess_no_copies_vs_bare_loop": 0.60,
    "preprocess_vs_naive": 3.0,
    "preprocess_two_cores_vs_one": 1.7,
    "train_vs_memory": 0.95,
    "two_ranks_vs_two_processes": 0.75,
    "score_vs_memory": 0.80,
}
AT_MOST = {"start_seconds": 20.0, "start_vs_horovod_spark_run": 1.0, "memory_growth": 1.15}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status: 0 when everything was measured, whatever came out."""
    parser = argparse.ArgumentParser(description="Measure each stage against what this machine can do.")
    parser.add_argument("--input", required=True, type=Path, help="a folder of class folders, to make the set of")
    parser.add_argument("--out", required=True, type=Path, help="JSON")
    parser.add_argument(
        "--config",
        nargs="+",
        default=["conf/seed.yaml", "conf/default.yaml"],
        help="networks; the first one preprocesses",
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="of work that each figure rests on")
    parser.add_argument("--photographs", type=int, default=6000, help="so many that a bare loop takes 20 s")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no side is left standing
    options.out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="dermaspark-bench-") as name:
            bench = Bench(Path(name), options.input, options.config, options.seconds, options.photographs)
            for document in measure(bench, options.stages):
                options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(*table(document), sep="\n")
    return 0


def measure(bench: Bench, stages: Sequence[str]) -> Iterator[dict[str, Any]]:
    """What goes into the JSON, after each stage: what a stage has measured outlives the failure of a later one."""
    load, began = os.getloadavg(), time.monotonic()
    say(f"making {bench.count} photographs of {SIZE[0]}x{SIZE[1]}")
    bench.bytes = make_set(bench.source, bench.photographs, bench.count, SIZE)
    make_datasets(bench)
    for stage in [stage for stage in STAGES if stage in stages]:
        STAGES[stage](bench)
        yield describe(bench, load, time.monotonic() - began)


def describe(bench: Bench, load: tuple[float, float, float], seconds: float) -> dict[str, Any]:
    return {
        "ratios": bench.ratios,
        "at_least": AT_LEAST,
        "at_most": AT_MOST,
        "rates": bench.rates,
        "start": bench.start,
        "memory": bench.memory,
        "constants": bench.constants,
        "cost_model": cost_model.predictions(bench.constants),
        "turns": bench.turns,
        "settings": {"configs": bench.configs, "seconds": bench.seconds, "photographs": bench.count, "cores": CORES},
        "bytes_of_photographs": bench.bytes,
        "versions": {name: version(name) for name in ("tensorflow-cpu", "keras", "pyspark", "horovod", "pyarrow")},
        "load_before": load,
        "minutes": seconds / 60,
    }


def table(document: dict[str, Any]) -> list[str]:
    """The ratios beside their bars, then the rates they were computed from."""
    lines = [f"{'ratio':45} {'measured':>9}   bar"]
    for name, value in document["ratios"].items():
        bar = f">= {AT_LEAST[name]}" if name in AT_LEAST else f"<= {AT_MOST[name]}" if name in AT_MOST else ""
        missed = value < AT_LEAST.get(name, value) or value > AT_MOST.get(name, value)
        lines.append(f"{name:45} {value:9.3f}   {bar}{'  missed' * missed}")
    lines += ["", f"{'rate':45} {'a second':>9}"]
    return lines + [f"{name:45} {value:9,.0f}" for name, value in document["rates"].items()]


if __name__ == "__main__":
    sys.exit(main())
