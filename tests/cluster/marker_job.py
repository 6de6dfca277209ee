"""A Spark job that looks for its own rows where a stranger would: `spark-submit marker_job.py LOCAL_FOLDER`.

Shuffles rows that hold a marker, uncompressed, with LOCAL_FOLDER as Spark's local disk, while it listens to the
loopback interface. Prints one JSON line: `rows` that came back, `on_disk` files that show the marker, `on_wire`
packets that do (None where listening is not allowed).
"""

import json
import socket
import sys
import threading
from pathlib import Path

from pyspark import SparkConf, SparkContext

MARKER = b"a lesion that nobody may see "
ALL_PROTOCOLS = socket.htons(3)  # linux/if_ether.h, ETH_P_ALL


class Listener(threading.Thread):
    """Counts the packets on loopback that show the marker, until it is stopped."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.packets = 0
        self.stopped = threading.Event()
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, ALL_PROTOCOLS)
        self.socket.bind(("lo", 0))
        self.socket.settimeout(0.2)

    def run(self) -> None:
        while not self.stopped.is_set():
            try:
                self.packets += MARKER in self.socket.recv(1 << 17)
            except TimeoutError:
                continue

    def stop(self) -> int:
        self.stopped.set()
        self.join()
        return self.packets


def main(folder: Path) -> None:
    try:
        listener = Listener()
        listener.start()
    except PermissionError:
        listener = None
    conf = SparkConf().setIfMissing("spark.ui.enabled", "false").set("spark.local.dir", str(folder))
    for kind in ("shuffle", "shuffle.spill", "rdd", "broadcast"):
        conf.set(f"spark.{kind}.compress", "false")
    context = SparkContext(conf=conf)
    marker = context.broadcast(MARKER.decode())
    rows = context.parallelize(range(200), 2).map(lambda i: (i % 7, marker.value + str(i)))
    back = rows.groupByKey(2).mapValues(list).collect()
    files = [path for path in folder.rglob("*") if path.is_file()]
    outcome = {
        "rows": sum(len(values) for _, values in back),
        "on_disk": sum(MARKER in path.read_bytes() for path in files),
        "on_wire": listener.stop() if listener else None,
    }
    print(json.dumps(outcome), flush=True)
    context.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
