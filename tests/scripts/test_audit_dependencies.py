"""The audit of dependencies: real pip-audit, and on loopback a service that speaks OSV's protocol."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from audit_dependencies import ACCEPTED, LOCKS, main, read_accepted

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"

HOROVOD = ("GHSA-0000-0000-0001", "CVE-2024-10190")


class Service(ThreadingHTTPServer):
    """Knows `advisories` by package, each an id and an alias; `asked` has every (package, version)."""

    def __init__(self, advisories: dict[str, tuple[str, str]]) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.advisories, self.asked = advisories, []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1/query"


class Answer(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = query["package"]["name"]
        self.server.asked.append((name, query["version"]))
        known = self.server.advisories.get(name)
        affected = [{"package": {"name": name, "ecosystem": "PyPI"}, "versions": [query["version"]]}]
        document = {"vulns": [{"id": known[0], "aliases": [known[1]], "affected": affected}]} if known else {}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(document).encode())

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


@pytest.fixture
def serve():
    services = []

    def start(advisories: dict[str, tuple[str, str]]) -> Service:
        services.append(Service(advisories))
        threading.Thread(target=services[-1].serve_forever, daemon=True).start()
        return services[-1]

    yield start
    for service in services:
        service.shutdown()
        service.server_close()


def audit(service: Service) -> int:
    return main(["--vulnerability-service", "osv", "--osv-url", service.url])


def test_every_pinned_package_and_those_built_here_are_looked_up_and_accepted_advisories_pass(serve, capsys):
    service = serve({"horovod": HOROVOD})
    assert audit(service) == 0
    said = capsys.readouterr().out
    assert "horovod 0.28.1: CVE-2024-10190, GHSA-0000-0000-0001 (not fixed): horovod: elastic runs" in said
    assert "1 advisories, 0 of them not accepted" in said
    pins = [f"{name}=={version}" for name, version in service.asked]
    locks = "".join((SCRIPTS.parent / lock).read_text() for lock in LOCKS)
    assert [pin for pin in pins if pin not in locks] == ["horovod==0.28.1", "petastorm==0.13.1"]
    asked = {name for name, _ in service.asked}
    assert asked >= {"cmake", "tensorflow-cpu", "keras", "pyspark", "pyarrow", "numpy", "pillow", "fsspec"}
    assert "diskcache" not in asked


def test_an_advisory_that_nobody_accepted_fails_the_audit(serve, capsys):
    assert audit(serve({"horovod": HOROVOD, "pillow": ("PYSEC-0", "CVE-0")})) == 1
    assert "PYSEC-0, CVE-0 (not fixed): NOT ACCEPTED" in capsys.readouterr().out


def test_a_service_that_does_not_answer_fails_the_audit_in_one_line(serve, capsys):
    service = serve({})
    service.shutdown()
    service.server_close()
    assert audit(service) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("audit-deps: the advisory service can't be reached (")
    assert said.err.count("\n") == 1


def test_an_accepted_advisory_without_a_reason_is_refused():
    assert len(read_accepted(ACCEPTED.read_text())) == 2
    for text in ("CVE-1", "CVE-1  unused\nCVE-1  unused"):
        with pytest.raises(ValueError):
            read_accepted(text)
