"""Owns the benchmark's stages: which sides meet in each, and which ratios come of it."""

import math
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench_memory import peaks
from bench_sides import Side, alternate, rate, ratio
from bench_start import seconds_to_first_step
from dermaspark.command_line import load
from dermaspark.dataset import MANIFEST, read_manifest

SIZE = (600, 450)  # pixels
COPIES = 8
ROWS = 10_000  # of an epoch, at least where the clock runs for 20 s
SCORED = 60_000  # rows of a turn of scoring, likewise
BATCH = 256  # rows of a rank's step
CORES = 2
EXCHANGES = (4 << 10, 4 << 20, 32 << 20)  # bytes, to fit latency and bandwidth
EXCHANGE_ROUNDS = 10
START_RUNS = 2  # of each launcher
GATHERED = 1000  # photographs, instead of `gathered.LIMIT`: more are divided on executors
WARM_UP = 2  # units of work of a JVM, after which it has compiled what it goes through often

Sides = dict[str, tuple[str, dict[str, Any], dict[str, Any]]]  # role, arguments, how it is started


@dataclass
class Bench:
    """What the stages share and what they leave."""

    folder: Path
    source: Path
    configs: list[str]  # one for each network; the first one preprocesses
    seconds: float
    count: int  # photographs
    bytes: int = 0
    ratios: dict[str, float] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)  # photographs or rows a second
    turns: dict[str, Any] = field(default_factory=dict)
    start: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    constants: dict[str, Any] = field(default_factory=dict)

    @property
    def photographs(self) -> Path:
        return self.folder / "photographs"

    def dataset(self, config: str) -> Path:
        return self.folder / f"dataset-{Path(config).stem}"

    def given(self, config: str, *settings: str, **more: Any) -> dict[str, Any]:
        """The arguments of a role; an epoch goes through all copies, the dataset's files several `times` over."""
        known: dict[str, Any] = {"config": str(Path(config).resolve()), "batch": BATCH, "set": list(settings)}
        known["dataset"] = str(self.dataset(config))
        if (self.dataset(config) / MANIFEST).exists():
            manifest = read_manifest(f"file://{self.dataset(config)}")
            rows = manifest.counts["train"] * manifest.copies
            known["times"] = math.ceil(ROWS * self.seconds / 20 / rows)
            known["set"].append(f"train.copies_per_epoch={manifest.copies * known['times']}")
        return {**known, **more}

    def compare(self, stage: str, sides: Sides) -> dict[str, Any]:
        """Let the sides take turns and keep what they did."""
        with ExitStack() as stack:
            standing = {}
            for name, (role, arguments, how) in sides.items():
                say(f"{stage}: starting {name}")
                standing[name] = stack.enter_context(Side(role, arguments, **how))
            say(f"{stage}: measuring")
            turns = alternate(standing, self.seconds)
        self.turns[stage] = turns
        self.rates |= {f"{stage}: {name}": rate(turns[name]) for name in sides}
        return turns

    def keep(self, name: str, value: float, *, lowest: bool = True) -> None:
        """Of several networks the worse counts."""
        self.ratios[name] = (min if lowest else max)(value, self.ratios.get(name, value))


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def make_datasets(bench: Bench) -> None:
    """What the other stages read: a dataset for each network, as its configuration says."""
    for config in bench.configs:
        say(f"making the dataset of {config}")
        with Side("prepare", _preparing(bench, config, CORES, [], bench.dataset(config))):
            pass


def preprocess(bench: Bench) -> None:
    def ours(cores: int, copies: int, **more: Any) -> tuple[str, dict[str, Any], dict[str, Any]]:
        output = bench.folder / f"prepared-{cores}-{copies}{''.join(more)}"
        arguments = _preparing(bench, bench.configs[0], cores, [f"augment.copies={copies}"], output)
        return "prepare", {**arguments, **more}, {"warm_up": WARM_UP}

    def bare(role: str, copies: int) -> tuple[str, dict[str, Any], dict[str, Any]]:
        arguments = bench.given(bench.configs[0], f"augment.copies={copies}", photographs=str(bench.photographs))
        return role, arguments, {"cores": 1}

    turns = bench.compare(
        "preprocess",
        {
            "two cores": ours(CORES, COPIES),
            "two cores, divided on executors": ours(CORES, COPIES, gathered=GATHERED),
            "one core": ours(1, COPIES),
            "bare loop": bare("bare", COPIES),
            "naive": bare("student", COPIES),
            "two cores, no copies": ours(CORES, 0),
            "bare loop, no copies": bare("bare", 0),
        },
    )
    bench.keep("preprocess_vs_bare_loop", ratio(turns, "two cores", "bare loop") / CORES)
    bench.keep(
        "preprocess_no_copies_vs_bare_loop", ratio(turns, "two cores, no copies", "bare loop, no copies") / CORES
    )
    bench.keep("preprocess_vs_naive", ratio(turns, "two cores", "naive") / CORES)
    bench.keep("preprocess_two_cores_vs_one", ratio(turns, "two cores", "one core"))
    bench.constants["preprocess_rate_a_core"] = rate(turns["two cores, divided on executors"]) / CORES


def stream(bench: Bench) -> None:
    given = bench.given(bench.configs[0])
    turns = bench.compare(
        "stream", {"stream": ("stream", given, {"cores": 1}), "pyarrow": ("pyarrow", given, {"cores": 1})}
    )
    bench.keep("stream_vs_pyarrow", ratio(turns, "stream", "pyarrow"))
    bench.constants["stream_rate_a_rank"] = rate(turns["stream"])


def train(bench: Bench) -> None:
    for config in bench.configs:
        name, given = Path(config).stem, bench.given(config)
        turns = bench.compare(
            f"train {name}",
            {
                "one rank": ("train", given, {"cores": 1}),
                "fit from memory": ("fit", given, {"cores": 1}),
                "two ranks": ("ranks", {**given, "ranks": 2, "role": "train"}, {"workers": 2}),
                "two processes": ("train", given, {"cores": 1, "processes": 2}),
            },
        )
        bench.keep("train_vs_memory", ratio(turns, "one rank", "fit from memory"))
        bench.keep("two_ranks_vs_two_processes", ratio(turns, "two ranks", "two processes"))
        bench.keep("two_ranks_vs_one", ratio(turns, "two ranks", "one rank"))
        alone = rate(turns["two processes"]) / 2
        bench.constants.setdefault("networks", {})[name] = {
            "rows_a_second": alone,  # of a process beside another one
            "two_ranks_measured": rate(turns["two ranks"]),
            "batch": BATCH,
            **_sizes(bench, config),
        }
    exchange(bench)


def exchange(bench: Bench) -> None:
    """Seconds of an allreduce of so many bytes between two ranks: as ranks of one host do it, and as hosts do."""
    seconds: dict[str, dict[str, float]] = {}
    for way in ("one host", "hosts"):
        say(f"exchange as on {way}: starting two ranks")
        given = bench.given(bench.configs[0], ranks=2, role="allreduce", sizes=EXCHANGES, way=way)
        found: dict[int, list[float]] = {size: [] for size in EXCHANGES}
        with Side("ranks", given, workers=2) as side:
            for _ in range(EXCHANGE_ROUNDS):
                for size in EXCHANGES:  # the role goes through them in this order, one a unit of work
                    turn = side.take_turn(1)
                    found[size].append(2 * turn.seconds / turn.things)
        seconds[way] = {str(size): median(each) for size, each in found.items()}
    bench.constants["allreduce_seconds"] = seconds


def score(bench: Bench) -> None:
    for config in bench.configs:
        name = Path(config).stem
        model = str(bench.folder / f"model-{name}")
        given = bench.given(config, model=model, cores=CORES)
        given["scored"] = math.ceil(SCORED * bench.seconds / 20 / bench.count)
        output = str(bench.folder / "scores")
        say(f"score {name}: making a model")
        with Side("make_model", given, cores=1):
            pass
        sides: Sides = {
            "score": ("score", {**given, "output": output}, {"warm_up": WARM_UP}),
            "predict from memory": ("predict", given, {"cores": CORES}),
        }
        turns = bench.compare(f"score {name}", sides)
        bench.keep("score_vs_memory", ratio(turns, "score", "predict from memory"))


def start(bench: Bench) -> None:
    for name in ("launcher", "horovod.spark.run") * START_RUNS:
        say(f"start: {name}")
        given = bench.given(bench.configs[0])
        bench.start.setdefault(name, []).append(seconds_to_first_step(name, given, bench.folder))
    ours, theirs = (min(bench.start[name]) for name in ("launcher", "horovod.spark.run"))
    bench.keep("start_seconds", ours, lowest=False)
    bench.keep("start_vs_horovod_spark_run", ours / theirs, lowest=False)


def memory(bench: Bench) -> None:
    """Peaks of each process, in MiB, with N and 10 N photographs."""
    n = max(60, round(6_000 * min(1.0, bench.seconds / 20)))
    for count in (n, 10 * n):
        say(f"memory: {count} photographs")
        folder = bench.folder / f"memory-{count}"
        bench.memory[str(count)] = peaks(bench.source, folder, count, bench.given(bench.configs[0])["config"])
    small, large = bench.memory[str(n)], bench.memory[str(10 * n)]
    growth = {process: large[process] / small[process] for process in small}
    bench.memory["growth"] = growth
    bench.keep("memory_growth", max(growth.values()), lowest=False)


def _preparing(bench: Bench, config: str, cores: int, settings: list[str], output: Path) -> dict[str, Any]:
    places = [f"input.path={bench.photographs}", f"output.path={output}", "overwrite=true"]
    return bench.given(config, *places, *settings, cores=cores)


def _sizes(bench: Bench, config: str) -> dict[str, int]:
    """Bytes of the network's gradient and of a row of its input."""
    os.environ.update(CUDA_VISIBLE_DEVICES="", TF_CPP_MIN_LOG_LEVEL="3")
    from dermaspark import networks

    network = load([], Path(config)).network
    spec = read_manifest(f"file://{bench.dataset(config)}").preprocessing
    model = networks.build(network, spec, classes=9, seed=0)
    trainable = sum(int(weight.value.shape.num_elements()) for weight in model.trainable_variables)
    of_a_value = 1 if networks.READS[network.name] == "image" else 4
    return {"gradient_bytes": 4 * trainable, "row_bytes": of_a_value * math.prod(model.input.shape[1:])}


STAGES: dict[str, Callable[[Bench], None]] = {
    each.__name__: each for each in (preprocess, stream, train, score, start, memory)
}
