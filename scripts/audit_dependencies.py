"""Asks whether an advisory is known against any pinned package; accepted ones stand in accepted_advisories.txt.

    python scripts/audit_dependencies.py [options of pip-audit, e.g. --vulnerability-service osv]

What is looked up is what gets installed: the lock files, and Horovod and petastorm, which are built here. Exit
status 0 when every package was looked up and no advisory is known but accepted ones.
"""

import json
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from build_wheels import VERSION_AND_SHA256

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("requirements-build.lock", "requirements.lock", "requirements-pretrained.lock")
ACCEPTED = Path(__file__).with_name("accepted_advisories.txt")
PIP_AUDIT_FOUND_SOMETHING = 1
LONGEST_REASON = 200  # characters


class UnreachableError(Exception):
    """The advisory service did not answer, or not about every package."""


class Advisory(NamedTuple):
    package: str
    version: str
    names: tuple[str, ...]  # its id and its aliases: PYSEC-..., GHSA-..., CVE-...
    fixed_in: str

    def __str__(self) -> str:
        fix = f"fixed in {self.fixed_in}" if self.fixed_in else "not fixed"
        return f"{self.package} {self.version}: {', '.join(self.names)} ({fix})"


def main(options: Sequence[str]) -> int:
    """The command line; returns the exit status."""
    reasons = read_accepted(ACCEPTED.read_text(encoding="utf-8"))
    try:
        found = list(look_up(options))
    except UnreachableError as error:
        print(f"audit-deps: {error}", file=sys.stderr)
        return 2
    new = [advisory for advisory in found if not reasons.keys() & set(advisory.names)]
    for advisory in found:
        why = next((reasons[name] for name in advisory.names if name in reasons), "NOT ACCEPTED")
        print(f"{advisory}: {why}")
    print(f"{len(found)} advisories, {len(new)} of them not accepted")
    return 1 if new else 0


def read_accepted(text: str) -> dict[str, str]:
    """The reason for each accepted advisory; lines are `ID  reason`. ValueError where a reason is missing."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    reasons = dict(line.split(maxsplit=1) for line in lines if len(line.split()) > 1)
    if len(reasons) != len(lines):
        raise ValueError("accepted_advisories.txt: each advisory stands there once, with a reason")
    return reasons


def look_up(options: Sequence[str]) -> Iterator[Advisory]:
    """Every advisory that pip-audit knows of. UnreachableError where it can't tell."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as built:
        # pip-audit wants a hash for each; it compares none, as nothing is fetched.
        for name, (version, sha256) in VERSION_AND_SHA256.items():
            built.write(f"{name}=={version} --hash=sha256:{sha256}\n")
        built.flush()
        for file in (*(ROOT / lock for lock in LOCKS), Path(built.name)):
            yield from read_answer(*ask(file, options))


def ask(file: Path, options: Sequence[str]) -> tuple[str, str]:
    """What pip-audit says of one requirements file: its JSON and its complaints."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(file), "--disable-pip", "--format", "json"]
    command += ["--progress-spinner", "off", "--desc", "off", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode > PIP_AUDIT_FOUND_SOMETHING:
        raise UnreachableError(f"pip-audit ended with status {done.returncode}")
    return done.stdout, done.stderr


def read_answer(answer: str, complaints: str) -> Iterator[Advisory]:
    """The advisories in pip-audit's JSON. A package that it passed over is not one without advisories."""
    try:
        packages: list[dict[str, Any]] = json.loads(answer)["dependencies"]
    except ValueError as error:
        last = textwrap.shorten((complaints.strip().splitlines() or ["it said nothing"])[-1], LONGEST_REASON)
        raise UnreachableError(f"the advisory service can't be reached ({last})") from error
    passed_over = [package for package in packages if "skip_reason" in package]
    if passed_over:
        raise UnreachableError(
            f"the advisory service can't be reached or lacks {len(passed_over)} of {len(packages)} packages "
            f"({passed_over[0]['skip_reason']})"
        )
    for package in packages:
        for known in package["vulns"]:
            names = (known["id"], *known["aliases"])
            yield Advisory(package["name"], package["version"], names, ", ".join(known["fix_versions"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
