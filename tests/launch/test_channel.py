"""The channel: lines arrive whole and in order; nobody gets in, or in the way, without the secret."""

import json
import os
import socket
import threading
import time
from contextlib import closing, suppress

import pytest
from dermaspark.launch import channel as channels
from dermaspark.launch.channel import MAX_LINE, Channel, Lines, connect, pack, receive


@pytest.fixture
def channel():
    with closing(Channel("127.0.0.1", tasks=2)) as opened:
        yield opened


def heard(channel: Channel, seconds: float = 0.5) -> list:
    """All that comes until nothing has come for a moment."""
    messages, quiet = [], time.monotonic() + seconds
    while time.monotonic() < quiet:
        for message in channel.poll(0.05):
            messages.append(message)
            quiet = time.monotonic() + 0.2
    return messages


def stranger(channel: Channel, said: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", channel.port), timeout=5)
    connection.sendall(said)
    return connection


def test_lines_are_the_same_however_the_bytes_are_cut():
    text = b"one\n\nthree\xff\n" + b"x" * 5000 + b"\nlast\n"
    for size in (1, 2, 7, 4096, len(text)):
        lines = Lines(limit=10_000)
        cut = [line for i in range(0, len(text), size) for line in lines.feed(text[i : i + size])]
        assert cut == text.split(b"\n")[:-1]


def test_a_line_without_end_takes_no_more_memory_than_its_limit():
    lines = Lines(limit=100)
    pieces = [piece for _ in range(1000) for piece in lines.feed(b"x" * 37)]
    assert {len(piece) for piece in pieces} == {100}
    assert 1000 * 37 - 100 * len(pieces) <= 100


def test_messages_arrive_in_order_and_the_end_is_heard(channel):
    with closing(connect(("127.0.0.1", channel.port), channel.secret, 1)) as task:
        for i in range(500):
            task.sendall(pack({"i": i}))
        assert heard(channel) == [(1, {"i": i}) for i in range(500)]
    assert heard(channel) == [(1, None)]
    assert not channel.connected


def test_a_task_is_told_its_orders_and_then_to_stop_and_can_still_speak(channel):
    task = connect(("127.0.0.1", channel.port), channel.secret, 0)
    heard(channel)
    channel.send(0, {"environment": {"HOROVOD_RANK": "0"}})
    assert receive(task) == {"environment": {"HOROVOD_RANK": "0"}}
    channel.stop()
    assert receive(task) is None
    task.sendall(pack({"last": "words"}))
    task.close()
    assert heard(channel) == [(0, {"last": "words"}), (0, None)]


@pytest.mark.parametrize(
    "hello",
    [
        b'{"secret": "wrong", "task": 0}\n',
        b'{"secret": null, "task": 0}\n',
        b'{"task": 0}\n',
        b'{"secret": "SECRET", "task": 2}\n',
        b'{"secret": "SECRET", "task": "0"}\n',
        b'["SECRET", 0]\n',
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x80\x04\x95\x00\x00\n",
        b"[" * 100_000 + b"\n",
        b"x" * (2 * MAX_LINE),
        b"\n",
    ],
)
def test_who_does_not_show_the_secret_is_dropped_unheard(channel, hello):
    with closing(stranger(channel, b"")) as intruder:
        said = threading.Thread(target=_say, args=(intruder, hello.replace(b"SECRET", channel.secret.encode())))
        said.start()
        assert heard(channel) == []
        said.join()
        assert not channel.connected
        with pytest.raises((ConnectionError, EOFError)):
            _expect_the_end(intruder)


def _say(connection: socket.socket, said: bytes) -> None:
    with suppress(ConnectionError):  # dropped while it spoke
        connection.sendall(said + b'{"report": {"from": "a stranger"}}\n')


def _expect_the_end(connection: socket.socket) -> None:
    if connection.recv(1) == b"":
        raise EOFError


def test_the_secret_serves_once_for_each_task(channel):
    hello = json.dumps({"secret": channel.secret, "task": 0}).encode() + b"\n"
    first = stranger(channel, hello)
    heard(channel)
    with closing(stranger(channel, hello + b'{"report": {}}\n')):
        assert heard(channel) == []
    first.close()
    assert heard(channel) == [(0, None)]
    with closing(stranger(channel, hello + b'{"report": {}}\n')):
        assert heard(channel) == []


def test_silent_strangers_hold_nothing_up(channel, monkeypatch):
    monkeypatch.setattr(channels, "HELLO_SECONDS", 1.0)
    idle = []
    for _ in range(2):
        idle += [stranger(channel, b'{"secret":') for _ in range(channels.MAX_STRANGERS)]
        heard(channel)
    start = time.monotonic()
    with closing(connect(("127.0.0.1", channel.port), channel.secret, 0)) as task:
        task.sendall(pack({"report": {}}))
        assert heard(channel) == [(0, {"report": {}})]
        assert time.monotonic() - start < 1
        heard(channel, seconds=1.2)
        for connection in idle:
            with pytest.raises((ConnectionError, EOFError)):
                _expect_the_end(connection)
            connection.close()


def test_nobody_can_connect_once_all_tasks_have(channel):
    with (
        closing(connect(("127.0.0.1", channel.port), channel.secret, 0)),
        closing(connect(("127.0.0.1", channel.port), channel.secret, 1)),
    ):
        heard(channel)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", channel.port), timeout=5)


def test_a_stranger_beside_the_last_hello_changes_nothing(channel):
    tasks = [socket.create_connection(("127.0.0.1", channel.port), timeout=5) for _ in range(2)]
    assert heard(channel) == []
    for number, task in enumerate(tasks):
        task.sendall(pack({"secret": channel.secret, "task": number}))
    with closing(stranger(channel, b"x")):
        time.sleep(0.2)  # so that one look finds all of them
        assert heard(channel) == []
        assert channel.connected
    for task in tasks:
        task.close()


def test_a_closed_channel_leaves_no_file_open():
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with closing(Channel("127.0.0.1", tasks=1)) as channel:
            task = connect(("127.0.0.1", channel.port), channel.secret, 0)
            heard(channel, seconds=0.1)
        assert receive(task) is None
        task.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_message_too_long_for_a_line_is_refused_where_it_is_sent():
    with pytest.raises(ValueError, match="over the"):
        pack({"report": {"text": "x" * MAX_LINE}})
