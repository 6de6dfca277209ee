"""The rendezvous serves on one address, keeps what ranks leave, and nothing else."""

import http.client
import socket

import psutil
import pytest
from dermaspark.errors import UserError
from dermaspark.launch import rendezvous as meeting
from dermaspark.launch.interfaces import find_interface
from dermaspark.launch.rendezvous import MAX_VALUE, rendezvous


def ask(port: int, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    return response.status, response.read()


def test_what_one_rank_leaves_another_finds_until_it_is_taken_away():
    with rendezvous("127.0.0.1") as port:
        assert ask(port, "GET", "/global/0")[0] == 404
        assert ask(port, "PUT", "/global/0", b"\x00address\xff")[0] == 200
        assert ask(port, "GET", "/global/0") == (200, b"\x00address\xff")
        assert ask(port, "DELETE", "/global/0")[0] == 200
        assert ask(port, "GET", "/global/0")[0] == 404


def test_it_listens_on_its_address_alone_and_no_longer_than_its_block():
    with rendezvous("127.0.0.1") as port:
        listening = [c.laddr for c in psutil.Process().net_connections("tcp") if c.status == psutil.CONN_LISTEN]
        assert ("127.0.0.1", port) in listening
        assert [address for address in listening if address[1] == port] == [("127.0.0.1", port)]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_stranger_learns_nothing_of_the_hosts_files():
    with rendezvous("127.0.0.1") as port:
        assert ask(port, "HEAD", "/pyproject.toml")[0] == 405
        assert ask(port, "HEAD", "/")[0] == 405


def test_a_stranger_cannot_fill_the_memory():
    with rendezvous("127.0.0.1") as port:
        too_much = {"Content-Length": str(MAX_VALUE + 1)}
        assert ask(port, "PUT", "/global/0", None, **too_much)[0] == 413
        assert ask(port, "PUT", "/global/0", None, **{"Content-Length": "-1"})[0] == 413
        assert ask(port, "GET", "/global/0")[0] == 404


def test_nor_by_many_values(monkeypatch):
    monkeypatch.setattr(meeting, "MAX_HELD", 1000)
    with rendezvous("127.0.0.1") as port:
        assert [ask(port, "PUT", f"/x/{i}", b"x" * 400)[0] for i in range(4)] == [200, 200, 413, 413]
        assert ask(port, "DELETE", "/x/0")[0] == 200
        assert ask(port, "PUT", "/x/2", b"x" * 400)[0] == 200


def test_an_idle_connection_does_not_keep_it_from_ending():
    with rendezvous("127.0.0.1") as port:
        idle = socket.create_connection(("127.0.0.1", port), timeout=5)
    idle.close()


def test_loopback_is_found_by_any_of_its_addresses():
    assert find_interface("127.0.0.1") == find_interface("127.0.1.1") == find_interface("localhost")
    assert find_interface("127.0.0.1")[1] == "127.0.0.1"


def test_an_interface_or_host_that_is_not_there_is_named():
    with pytest.raises(UserError, match=r"train.network_interface=eth77: localhost has none.*it has .*lo"):
        find_interface("localhost", "eth77")
    with pytest.raises(UserError, match=r"192\.0\.2\.1"):  # an address of no machine (RFC 5737)
        find_interface("192.0.2.1")
