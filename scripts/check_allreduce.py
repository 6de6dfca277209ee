"""Shows that Horovod works here: two processes on loopback allreduce to the right sum over Gloo."""

import os
import subprocess
import sys
from threading import Thread

from horovod.runner.common.util.hosts import HostInfo, get_host_assignments
from horovod.runner.gloo_run import create_run_env_vars, create_slot_env_vars
from horovod.runner.http.http_server import RendezvousHandler, RendezvousHTTPServer

RANKS = 2
TIMEOUT_SECONDS = 300  # only against a hang: on a busy machine importing TensorFlow alone may take a minute

RANK_PROGRAM = """
import sys

import horovod.tensorflow as hvd
import tensorflow as tf

hvd.init()
summed = hvd.allreduce(tf.range(1000.0) * (hvd.rank() + 1), op=hvd.Sum)
expected = tf.range(1000.0) * sum(range(1, hvd.size() + 1))
right = hvd.size() == int(sys.argv[1]) and bool(tf.reduce_all(summed == expected))
hvd.shutdown()
sys.exit(0 if right else "the sum over the ranks is wrong")
"""


def main() -> int:
    """Exit status 0 when every rank found the right sum."""
    slots = get_host_assignments([HostInfo("localhost", RANKS)], RANKS)
    # Horovod's own RendezvousServer would listen on every interface.
    rendezvous = RendezvousHTTPServer(("127.0.0.1", 0), RendezvousHandler, False)
    rendezvous.init(slots)
    Thread(target=rendezvous.serve_forever, daemon=True).start()
    gloo = create_run_env_vars("127.0.0.1", ["lo"], rendezvous.server_port)
    common = {**os.environ, **{key: str(value) for key, value in gloo.items()}}
    common |= {"HOROVOD_GLOO_TIMEOUT_SECONDS": str(TIMEOUT_SECONDS), "TF_CPP_MIN_LOG_LEVEL": "3"}
    ranks = [
        subprocess.Popen([sys.executable, "-c", RANK_PROGRAM, str(RANKS)], env={**common, **create_slot_env_vars(slot)})
        for slot in slots
    ]
    try:
        return max(abs(rank.wait(TIMEOUT_SECONDS)) for rank in ranks)
    finally:
        for rank in ranks:
            rank.kill()
        rendezvous.shutdown()


if __name__ == "__main__":
    sys.exit(main())
