"""What every job does around its own work: read the configuration, make the session, report an error in a line."""

import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JError, Py4JJavaError
from pyspark import SparkContext
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from dermaspark.command_line import load
from dermaspark.config import Config
from dermaspark.errors import UserError
from dermaspark.session import spark_session, start_logging

log = logging.getLogger("dermaspark")
RAISED_IN_A_TASK = re.compile(r"^(?:[\w.]+\.)?UserError: (.*)$", re.MULTILINE)


def run(name: str, work: Callable[[SparkSession, Config], None], jobs_folder: Path) -> None:
    """Do one job and exit: 0 when everything was done, 2 for a person's mistake, 1 for any other failure."""
    debug = any(argument == "log_level=debug" for argument in sys.argv)
    start = time.monotonic()
    try:
        config = load(sys.argv[1:], jobs_folder.parent / "conf" / "default.yaml")
        debug = config.log_level == "debug"
        start_logging(config.log_level)
        with spark_session(f"dermaspark {name}", config.log_level) as spark:
            work(spark, config)
        log.info("%s: done in %.0f s", name, time.monotonic() - start)
        status = 0
    except UserError as error:
        status = _say(str(error), 2, debug)
    except KeyboardInterrupt:
        status = _say("interrupted", 130, debug)
    except Exception as error:
        mistake = RAISED_IN_A_TASK.search(str(error))
        status = _say(mistake[1], 2, debug) if mistake else _say(_cause(error), 1, debug)
    sys.stdout.flush()
    sys.exit(status)


def _say(message: str, status: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    hint = "" if status != 1 or debug else " (log_level=debug shows where)"
    _to_stderr(f"error: {' '.join(message.split())}{hint}")
    return status


def _to_stderr(line: str) -> None:
    """spark-submit pours a job's stderr into its own stdout, so what must reach stderr goes by way of its JVM."""
    try:
        if "PYSPARK_GATEWAY_PORT" in os.environ:
            SparkContext._ensure_initialized()
            jvm: Any = SparkContext._jvm
            jvm.System.err.println(line)
            return
    except (Py4JError, OSError):  # the JVM is gone
        pass
    print(line, file=sys.stderr)


def _cause(error: Exception) -> str:
    """An exception in a line; of a failed Spark job, the last line of its task's Python traceback."""
    lines = [line.strip().removeprefix(": ") for line in str(error).splitlines() if line.strip()]
    raised = [line for line in lines if re.match(r"^[\w.]+(Error|Exception)\b", line)]
    if isinstance(error, PySparkException | Py4JJavaError) and raised:
        return raised[0]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
