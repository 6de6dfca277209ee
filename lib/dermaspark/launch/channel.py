"""Owns the channel by which ranks talk to the driver while they run: TCP, one JSON object a line.

The driver listens on one address; each Spark task of the stage connects once and shows a secret that came to
it in its closure. Nothing but JSON is read, a line is bounded, and whoever does not show the secret in time
is dropped. When the driver closes its side, or dies, the task sees the stream end: so it is told to stop.
"""

from __future__ import annotations

import hmac
import json
import logging
import secrets
import selectors
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

MAX_LINE = 1 << 20  # bytes
HELLO_SECONDS = 10.0  # to show the secret
MAX_STRANGERS = 64  # connections that have not shown it yet
SEND_SECONDS = 60.0  # a peer that takes nothing for so long is gone

_log = logging.getLogger("dermaspark")

Message = dict[str, Any]


def pack(message: Message) -> bytes:
    """One line. ValueError where it is over MAX_LINE."""
    line = json.dumps(message).encode() + b"\n"
    if len(line) > MAX_LINE:
        raise ValueError(f"a message of {len(line)} bytes is over the {MAX_LINE} that a line may have")
    return line


class Lines:
    """Bytes as they come in, lines as they end; a line over `limit` bytes comes in pieces."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` ends, without their line ends."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        while len(self._rest) > self._limit:
            lines.append(self._rest[: self._limit])
            self._rest = self._rest[self._limit :]
        return lines


# The task's side


def connect(address: tuple[str, int], secret: str, task: int) -> socket.socket:
    """A connection to the driver, which knows by the secret that `task` is at its end. OSError if none."""
    connection = socket.create_connection(address, timeout=SEND_SECONDS)
    _notice_a_dead_host(connection)
    connection.sendall(pack({"secret": secret, "task": task}))
    return connection


def receive(connection: socket.socket) -> Message | None:
    """Waits for the driver's next message; None when it closed. One line at a time: the driver sends one."""
    connection.settimeout(None)
    line = connection.makefile("rb").readline(MAX_LINE)
    connection.settimeout(SEND_SECONDS)
    return json.loads(line) if line.endswith(b"\n") else None


# The driver's side


@dataclass
class _Peer:
    connection: socket.socket
    since: float = field(default_factory=time.monotonic)
    lines: Lines = field(default_factory=Lines)
    task: int | None = None  # known once it has shown the secret


class Channel:
    """The driver's end. Used by one thread: nothing happens but inside `poll`, `send`, `stop` and `close`."""

    def __init__(self, address: str, tasks: int) -> None:
        """Listens on a random port of `address` for `tasks` tasks, numbered from 0."""
        self.secret = secrets.token_hex(32)
        self._expected = tasks
        self._peers: dict[int, _Peer] = {}
        self._admitted: set[int] = set()  # the secret serves once for each task
        self._strangers: list[_Peer] = []
        self._selector = selectors.DefaultSelector()
        self._server: socket.socket | None = socket.create_server((address, 0), backlog=tasks + MAX_STRANGERS)
        self._selector.register(self._server, selectors.EVENT_READ)
        self.port: int = self._server.getsockname()[1]

    @property
    def connected(self) -> bool:
        """Whether any task is at the other end."""
        return bool(self._peers)

    def poll(self, seconds: float) -> Iterator[tuple[int, Message | None]]:
        """What tasks said within `seconds`: (task, message), or (task, None) when its connection ended."""
        for key, _ in self._selector.select(seconds):
            if key.data is None:
                if self._server is not None:  # the last task was not admitted a moment ago
                    self._accept(self._server)
            elif key.fileobj.fileno() >= 0:  # type: ignore[union-attr]  # not dropped a moment ago
                yield from self._hear(key.data)
        for stranger in [s for s in self._strangers if time.monotonic() - s.since > HELLO_SECONDS]:
            self._drop(stranger, "said nothing")

    def send(self, task: int, message: Message) -> None:
        """Tells one task; the end of a connection is heard of in `poll`, so a failure here is not."""
        if task in self._peers:
            try:
                self._peers[task].connection.sendall(pack(message))
            except OSError as error:
                _log.debug("task %d is no longer there: %s", task, error)

    def stop(self) -> None:
        """Tells every task to stop, and takes no new one; what they still say can be polled."""
        self._stop_listening()
        for peer in self._peers.values():
            try:
                peer.connection.shutdown(socket.SHUT_WR)
            except OSError as error:  # it ended by itself
                _log.debug("task %s is no longer there: %s", peer.task, error)

    def close(self) -> None:
        """Ends everything; a task that still runs sees the end of the stream."""
        self._stop_listening()
        for peer in list(self._peers.values()):
            self._forget(peer)
        self._selector.close()

    def _accept(self, server: socket.socket) -> None:
        try:
            connection, _ = server.accept()
        except OSError as error:  # gone between its coming and now
            _log.debug("a connection was not made: %s", error)
            return
        connection.settimeout(SEND_SECONDS)
        _notice_a_dead_host(connection)
        if len(self._strangers) >= MAX_STRANGERS:
            self._drop(self._strangers[0], "one of too many")
        peer = _Peer(connection)
        self._strangers.append(peer)
        self._selector.register(connection, selectors.EVENT_READ, peer)

    def _hear(self, peer: _Peer) -> Iterator[tuple[int, Message | None]]:
        try:
            data = peer.connection.recv(1 << 16)
            lines = peer.lines.feed(data)
            if peer.task is None and (lines or not data):
                self._admit(peer, lines.pop(0) if lines else b"")
            if peer.task is not None:
                yield from ((peer.task, _parse(line)) for line in lines)
        except (OSError, ValueError) as error:
            self._drop(peer, str(error))
            data = b""
        if not data and peer.task is not None:
            self._forget(peer)
            yield peer.task, None

    def _admit(self, peer: _Peer, line: bytes) -> None:
        """Makes a stranger a task if its first line shows the secret. ValueError if not."""
        hello = _parse(line)
        secret, task = hello.get("secret"), hello.get("task")
        if not (isinstance(secret, str) and hmac.compare_digest(secret.encode(), self.secret.encode())):
            raise ValueError("a wrong secret")
        if not isinstance(task, int) or task not in range(self._expected) or task in self._admitted:
            raise ValueError(f"task {task} is not expected")
        self._strangers.remove(peer)
        peer.task = task
        self._peers[task] = peer
        self._admitted.add(task)
        if len(self._admitted) == self._expected:
            self._stop_listening()

    def _drop(self, peer: _Peer, why: str) -> None:
        if peer.task is None:
            _log.warning("dropped a connection from %s: %s", _name(peer.connection), why)
            self._forget(peer)
        else:
            _log.debug("the connection of task %d broke: %s", peer.task, why)

    def _forget(self, peer: _Peer) -> None:
        self._selector.unregister(peer.connection)
        peer.connection.close()
        if peer.task is None:
            self._strangers.remove(peer)
        else:
            del self._peers[peer.task]

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._selector.unregister(self._server)
            self._server.close()
            self._server = None
            for stranger in list(self._strangers):
                self._forget(stranger)


def _parse(line: bytes) -> Message:
    try:
        message = json.loads(line)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if not isinstance(message, dict):
        raise ValueError("not a JSON object")
    return message


def _name(connection: socket.socket) -> str:
    try:
        return str(connection.getpeername()[0])
    except OSError:
        return "an address already gone"


def _notice_a_dead_host(connection: socket.socket) -> None:
    """A host that vanished without a word is noticed in 25 s: no rank outlives the driver by a minute."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
