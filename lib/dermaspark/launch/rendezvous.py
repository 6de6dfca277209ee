"""Owns the meeting place where the ranks of a run find one another: Horovod's, on one interface only."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from horovod.runner.http.http_server import RendezvousHandler, RendezvousHTTPServer

MAX_HELD = 128 << 20  # bytes of all values together
MAX_VALUE = 1 << 20  # bytes; a rank leaves the addresses of its connections, some hundred bytes for each rank


class _Handler(RendezvousHandler):  # type: ignore[misc]
    """Horovod's handler, which keeps bytes and interprets none, less what a stranger could misuse."""

    def do_HEAD(self) -> None:  # noqa: N802
        """Refused: inherited from Python's file server, it would tell which files the executor has."""
        self.send_error(HTTPStatus.METHOD_NOT_ALLOWED)

    def do_PUT(self) -> None:  # noqa: N802
        size = int(self.headers.get("Content-Length", -1))
        with self.server.cache_lock:
            held = sum(len(value) for scope in self.server.cache.values() for value in scope.values())
        if not 0 <= size <= min(MAX_VALUE, MAX_HELD - held):
            self.close_connection = True
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        super().do_PUT()


class _Server(RendezvousHTTPServer):  # type: ignore[misc]
    daemon_threads = True  # a stranger who keeps a connection open does not keep the task from ending

    def server_bind(self) -> None:
        """Without the reverse name look-up that HTTPServer adds: seconds lost where no DNS answers."""
        socketserver.TCPServer.server_bind(self)


@contextmanager
def rendezvous(address: str) -> Iterator[int]:
    """Serves on `address`, a port of its choice, until the block ends; yields the port.

    Horovod's own RendezvousServer does the same on all interfaces, whichever interface is named.
    """
    server = _Server((address, 0), _Handler, verbose=0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
