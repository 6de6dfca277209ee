"""Two reports compared on the photographs that both scored: `python scripts/compare.py REPORT_A REPORT_B`."""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

from dermaspark import comparison
from dermaspark.errors import UserError
from dermaspark.session import spark_session, start_logging
from dermaspark.summary import HEADLINES


def main(arguments: list[str]) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Compare two reports, photograph by photograph.")
    parser.add_argument("report_a", help="folder that jobs/evaluate.py or jobs/crossval.py wrote")
    parser.add_argument("report_b", help="another one")
    parser.add_argument("--split", choices=HEADLINES, help="default: the first of these that both have")
    asked = parser.parse_args(arguments)
    start_logging("info")
    try:
        with spark_session("dermaspark compare", "info") as spark:
            print(comparison.as_text(comparison.compare(spark, asked.report_a, asked.report_b, asked.split)))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
