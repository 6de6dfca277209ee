"""Owns the pipes to and from one rank's process, from its start to its death."""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any

from dermaspark.launch.channel import Lines, pack
from dermaspark.rank import is_whole, write_pickle

LAST_WORDS_SECONDS = 0.3  # for the stacks of a rank that is about to be killed
TEARDOWN_SECONDS = 10.0  # for a process to end after its function has returned
MAX_TEXT = 8192  # bytes of one line of standard output or error

# TensorFlow's C++ notes of level INFO come before it has read TF_CPP_MIN_LOG_LEVEL.
NOISE = re.compile(rb"I\d{4} [\d:.]+ +\d+ \S+\.cc:\d+\]|WARNING: All log messages before absl::InitializeLog")

Tell = Callable[[bytes], None]  # takes a line for the driver


class Child:
    """The rank's process and its pipes. Leaving its `with` block kills it."""

    def __init__(self, environment: dict[str, str], orders: bytes, tell: Tell) -> None:
        """Starts it and hands it its orders."""
        messages, for_messages = os.pipe()
        answer, for_answer = os.pipe()
        command = [sys.executable, "-P", "-m", "dermaspark.rank"]
        self._process = subprocess.Popen(
            [*command, *map(str, (os.getpid(), for_messages, for_answer))],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(for_messages, for_answer),
        )
        os.close(for_messages)
        os.close(for_answer)
        self._answer = bytearray()
        self._returned_at: float | None = None
        self._selector = selectors.DefaultSelector()
        for pipe, sink in (
            (os.fdopen(messages, "rb"), _relay(tell)),
            (os.fdopen(answer, "rb"), self._answer.extend),
            (self._process.stdout, _relay_text(tell, "stdout")),
            (self._process.stderr, _relay_text(tell, "stderr")),
        ):
            assert pipe is not None
            self._selector.register(pipe, selectors.EVENT_READ, sink)
        self._orders: IO[bytes] = self._process.stdin  # type: ignore[assignment]  # it is a pipe
        with suppress(BrokenPipeError):  # it has died already, and its exit code will say of what
            write_pickle(self._orders, orders)

    @property
    def returned(self) -> bool:
        """Whether the function has; how the process ends after that is no matter."""
        return is_whole(self._answer)

    @property
    def answer(self) -> bytes:
        """What the function returned, as `write_pickle` wrote it; nothing where it did not."""
        return bytes(self._answer) if self.returned else b""

    @property
    def code(self) -> int | None:
        """As subprocess has it: -9 for SIGKILL; None while it runs."""
        return self._process.returncode

    def listen(self, seconds: float) -> bool:
        """Passes on what the process says within `seconds`; False when it has ended and all is said."""
        ended = self._process.poll() is not None
        if self.returned:
            self._returned_at = self._returned_at or time.monotonic()
            if time.monotonic() - self._returned_at > TEARDOWN_SECONDS:
                self._process.kill()
        ready = self._selector.select(0 if ended else seconds)
        for key, _ in ready:
            data = os.read(key.fd, 1 << 16)
            key.data(data)
            if not data:
                self._close(key.fileobj)
        return bool(ready) or not ended

    def end(self) -> None:
        """Kills the process, after it has written the stacks of its threads: where was it, if it hung?"""
        self._process.send_signal(signal.SIGUSR1)
        deadline = time.monotonic() + LAST_WORDS_SECONDS
        while time.monotonic() < deadline and self.listen(LAST_WORDS_SECONDS / 10):
            pass
        self._process.kill()
        while self.listen(LAST_WORDS_SECONDS):
            pass

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for key in list(self._selector.get_map().values()):
            self._close(key.fileobj)
        self._selector.close()
        with suppress(BrokenPipeError):
            self._orders.close()

    def _close(self, pipe: Any) -> None:
        self._selector.unregister(pipe)
        pipe.close()


def _relay(tell: Tell) -> Callable[[bytes], None]:
    lines = Lines()

    def sink(data: bytes) -> None:
        for line in lines.feed(data):
            tell(line + b"\n")

    return sink


def _relay_text(tell: Tell, stream: str) -> Callable[[bytes], None]:
    lines = Lines(MAX_TEXT)

    def sink(data: bytes) -> None:
        for line in lines.feed(data or b"\n"):  # the end of the stream ends its last line
            if (data or line) and not NOISE.match(line):
                tell(pack({"line": line.decode(errors="replace"), "stream": stream}))

    return sink
