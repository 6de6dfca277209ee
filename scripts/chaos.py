"""Owns the chaos test: training on a standalone cluster, where processes are killed at random moments.

    python scripts/chaos.py [--times 10] [--epochs 20] [--seed 0] [--kinds rank executor daemon driver]

One run is left alone. In every other run one process gets SIGKILL, and the run must end all the same (where it
was the driver: must go on when it is started again) with the history and the weights of the run that was left
alone. Nothing is killed but what this script has started. Exit status 1 if any run failed.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
from chaos_runs import (
    KINDS,
    RUN_SECONDS,
    Arrays,
    Result,
    Training,
    describe,
    make_dataset,
    standalone_cluster,
    wait_until_gone,
)
from dermaspark.randomness import generator
from numpy.random import Generator

TOLERANCE = 1e-5  # of weights, absolute
LINGER_SECONDS = 60  # for the processes of a start that was ended to be gone
CHECKPOINT_MINUTES = (10.0, 0.005)  # at the ends of epochs alone, or within them too
RESTART = "starting the ranks again"
POLL_SECONDS = 0.02


class Pace(NamedTuple):
    """Of a run that is left alone, in seconds."""

    first: float  # from its start to the end of its first epoch
    epoch: float  # each later one


class Moment(NamedTuple):
    """When a process is killed: `seconds` after `epochs` have ended (0: after the run was started)."""

    epochs: int
    seconds: float


class Kill(NamedTuple):
    victim: str
    at: float  # monotonic seconds
    doomed: list[psutil.Process]  # what must not live on


@dataclass
class Outcome:
    """What became of one run."""

    kind: str
    victim: str
    moment: Moment
    recovery: float | None = None  # seconds from the kill to the end of the next epoch; None: no epoch was left
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        moment = f"{self.moment.epochs:2} epochs + {self.moment.seconds:4.1f} s"
        recovery = "ended" if self.recovery is None else f"{self.recovery:.1f} s"
        return f"{self.kind:9} {self.victim:16} {moment:20} {recovery:>8}  {'; '.join(self.faults) or 'passed'}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Kill processes of training runs and see whether the runs mind.")
    parser.add_argument("--times", type=int, default=10, help="runs for each kind of process")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the victims and the moments")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that neither cluster nor run is left standing
    plan = [(kind, i) for i in range(options.times) for kind in options.kinds]
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="dermaspark-chaos-") as name:
        make_dataset(folder := Path(name))
        with standalone_cluster(folder) as cluster:
            with Training(folder, cluster, "whole", options.epochs) as training:
                whole, pace = leave_alone(training)
            for kind, i in plan:
                rng = generator(options.seed, "chaos", f"{kind}/{i}")
                outcome = None
                while outcome is None:  # until the moment comes before the run's end
                    name = f"{kind}-{i}-{rng.integers(10**6)}"
                    minutes = float(rng.choice(CHECKPOINT_MINUTES))
                    moment = draw_moment(rng, options.epochs, pace)
                    with Training(folder, cluster, name, options.epochs, minutes) as training:
                        if kill := strike(training, kind, moment, rng):
                            outcome = see_through(training, kind, moment, kill, whole)
                outcomes.append(outcome)
                say(f"{len(outcomes)}/{len(plan)}  {outcome}")
    print(*table(outcomes), sep="\n")
    return 1 if any(outcome.faults for outcome in outcomes) else 0


def leave_alone(training: Training) -> tuple[Result, Pace]:
    """What a run comes to without a kill, and how fast. SystemExit where it fails."""
    started = time.monotonic()
    training.start()
    if training.wait(RUN_SECONDS):
        sys.exit("the run that was left alone failed:\n" + training.last_lines())
    training.hear_out()
    ends = [at for at, _ in training.epochs()]
    pace = Pace(ends[0] - started, float(np.diff(ends).mean()))
    say(f"left alone: {pace.first:.1f} s to the end of the first epoch, then {pace.epoch:.1f} s each")
    return training.result(), pace


def draw_moment(rng: Generator, epochs: int, pace: Pace) -> Moment:
    done = int(rng.integers(epochs))
    return Moment(done, float(rng.uniform(0, pace.epoch if done else pace.first)))


def strike(training: Training, kind: str, moment: Moment, rng: Generator) -> Kill | None:
    """Start a run and kill one of its processes at the moment; None where the run had ended before it."""
    training.start()
    while len(training.epochs()) < moment.epochs and training.running:
        time.sleep(POLL_SECONDS)
    time.sleep(moment.seconds)
    while training.running:
        if found := training.processes(kind):
            victim = found[int(rng.integers(len(found)))]
            with suppress(psutil.NoSuchProcess):  # it has just ended by itself: take another
                doomed = training.processes("rank") + (training.processes("driver") if kind == "driver" else [])
                kill = Kill(describe(kind, victim), time.monotonic(), doomed)
                victim.send_signal(signal.SIGKILL)
                return kill
        time.sleep(POLL_SECONDS)
    return None


def see_through(training: Training, kind: str, moment: Moment, kill: Kill, whole: Result) -> Outcome:
    """Wait for the end of a run, which is started again where it has lost its driver, and judge it."""
    outcome = Outcome(kind, kill.victim, moment)
    again = None  # when, if it was started again from here
    try:
        if kind == "driver":
            training.wait(LINGER_SECONDS)
            if not training.finished:
                again = time.monotonic()
                training.start()
        lingering = wait_until_gone(kill.doomed, kill.at + LINGER_SECONDS)
        status = training.wait(RUN_SECONDS)
        training.hear_out()
    except subprocess.TimeoutExpired as error:
        training.end()
        status, lingering = None, []
        outcome.faults.append(f"was still there after {error.timeout:.0f} s")
    if again is None:
        again = next((at for at, line in training.lines if at >= kill.at and line.startswith(RESTART)), None)
    if again is not None:
        outcome.recovery = next((at - kill.at for at, _ in training.epochs(since=again)), None)
    if lingering:
        outcome.faults.append(f"{len(lingering)} processes were still there {LINGER_SECONDS} s after the kill")
    if status is not None:
        outcome.faults += [f"exit status {status}"] if status else find_faults(training, whole)
    if outcome.faults:
        say(training.last_lines())
    return outcome


def find_faults(training: Training, whole: Result) -> list[str]:
    """What a run that ended well did not do as the one that was left alone."""
    faults, result = [], training.result()
    ended = [epoch for _, epoch in training.epochs()]
    if twice := sorted({epoch for epoch in ended if ended.count(epoch) > 1}):
        faults.append(f"epochs lost after they had ended: {twice}")
    if result.history != whole.history:
        faults.append("another history")
    if (apart := distance(result.weights, whole.weights)) > TOLERANCE:
        faults.append(f"weights {apart:.3g} apart")
    restarts = sum(line.startswith(RESTART) for _, line in training.lines)
    if training.starts == 1 and len(result.deaths) != restarts:
        faults.append(f"{len(result.deaths)} deaths on record, {restarts} restarts")
    return faults


def distance(these: Arrays, those: Arrays) -> float:
    """The largest absolute difference between two sets of arrays; infinite where they are not alike."""
    if these.keys() != those.keys() or any(these[name].shape != those[name].shape for name in these):
        return float("inf")
    return max(float(np.abs(np.subtract(these[name], those[name], dtype=np.float64)).max()) for name in these)


def table(outcomes: list[Outcome]) -> Iterator[str]:
    """Every run in a line, and every kind in one."""
    yield f"{'killed':9} {'victim':16} {'moment':20} {'recovery':>8}  verdict"
    yield from map(str, outcomes)
    for kind in KINDS:
        of_kind = [outcome for outcome in outcomes if outcome.kind == kind]
        seconds = [outcome.recovery for outcome in of_kind if outcome.recovery is not None]
        if of_kind:
            passed = sum(not outcome.faults for outcome in of_kind)
            times = f", recovery {np.median(seconds):.1f} s (median), {max(seconds):.1f} s (most)" if seconds else ""
            yield f"{kind}: {passed} of {len(of_kind)} passed{times}"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
