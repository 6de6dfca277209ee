"""What each option brings: cross-validation with each switched on alone, against the configuration without any.

    python scripts/ablation.py --input photographs --out runs/ablation [--groups table.csv] [key=value ...]

Each run is jobs/crossval.py in a folder of its own; one that is finished is not run again. The table gives the paired
difference of accuracy and balanced accuracy to the run without options, with 95 % intervals from a bootstrap over
groups, and ablation.json holds the comparisons.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

from dermaspark import comparison
from dermaspark.errors import UserError
from dermaspark.evaluation import METRICS
from dermaspark.session import spark_session, start_logging
from dermaspark.summary import aligned
from pyspark.sql import SparkSession

ROOT = Path(__file__).resolve().parents[1]

PLAIN, COPIES = "plain", "copies"
WITH_COPIES = ("augment.copies=2",)  # of which each epoch takes one, or the photograph itself
# By name: what is switched on, and the run that it is compared with. Wear is of augmented copies alone.
OPTIONS: dict[str, tuple[tuple[str, ...], str]] = {
    "colour_constancy": (("image.colour_constancy=true",), PLAIN),
    "hair_removal": (("image.hair_removal=true",), PLAIN),
    COPIES: (WITH_COPIES, PLAIN),
    "resolution": ((*WITH_COPIES, "augment.resolution=0.5"), COPIES),
    "quality": ((*WITH_COPIES, "augment.quality=40"), COPIES),
    "efficientnet": (("features.families=[colour_shape,patches,covariance,efficientnet]",), PLAIN),
}


def main(arguments: list[str]) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", required=True, help="input.path of the runs")
    parser.add_argument("--out", required=True, type=Path, help="folder for the runs and ablation.json")
    parser.add_argument("--groups", help="input.groups of the runs")
    parser.add_argument("--config", default=ROOT / "conf" / "default.yaml", type=Path, help="of every run")
    parser.add_argument("--only", nargs="+", choices=OPTIONS, help="default: all options but efficientnet")
    parser.add_argument("--master", default="local[2]")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="of every run, e.g. split.folds=3")
    asked = parser.parse_args(arguments)
    wanted = asked.only or [name for name in OPTIONS if name != "efficientnet"]
    names = [name for name in OPTIONS if name in wanted or name in {OPTIONS[other][1] for other in wanted}]
    try:
        for name in [PLAIN, *names]:
            cross_validate(asked, name)
        start_logging("info")
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")  # of the comparison alone, which is this machine's
        with spark_session("dermaspark ablation", "info") as spark:
            found = compare(spark, asked.out, names)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    (asked.out / "ablation.json").write_text(json.dumps(found, indent=1))
    print(as_text(found))
    return 0


def cross_validate(asked: argparse.Namespace, name: str) -> None:
    """Run one cross-validation, unless its report is there. UserError where it fails."""
    out = asked.out / name
    if (out / METRICS).exists():
        return
    print(f"cross-validation: {name}", flush=True)
    command = [
        "spark-submit",
        "--master",
        asked.master,
        str(ROOT / "jobs" / "crossval.py"),
        f"--config={asked.config}",
        f"input.path={asked.input}",
    ]
    command += [f"output.path={out}", *([f"input.groups={asked.groups}"] if asked.groups else [])]
    command += [*asked.settings, *(OPTIONS[name][0] if name != PLAIN else ())]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{name}: {(done.stderr.strip() or 'failed').splitlines()[-1]}")


def compare(spark: SparkSession, out: Path, names: list[str]) -> dict[str, dict[str, Any]]:
    """By option, its run compared with the one without it."""
    return {name: comparison.compare(spark, str(out / OPTIONS[name][1]), str(out / name)) for name in names}


def as_text(found: Mapping[str, Mapping[str, Any]]) -> str:
    """A line for each option."""
    rows = [["option", "against", "n", "accuracy", "difference", "95 % interval", "balanced", "difference", "interval"]]
    for name, of in found.items():
        row = [name, OPTIONS[name][1], str(of["n"])]
        for figure in ("accuracy", "balanced_accuracy"):
            low, high = of[figure]["difference_ci95"]
            difference = f"{of[figure]['difference']:+.3f}"
            row += [f"{of[figure]['b']:.3f}", difference, f"{low:+.3f} to {high:+.3f}"]
        rows.append(row)
    return aligned(rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
