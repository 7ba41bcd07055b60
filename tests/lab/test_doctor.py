"""`make doctor` with faulty services: each problem is described in plain words, with its solution."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rolecall_lab.launcher import doctor
from rolecall_lab.launcher.environment import SERVICES
from support.servers import free_port

ROLES = {"CLIENT_PORT": "client", "AUTH_PORT": "authorization_server", "RESOURCE_PORT": "resource_server"}


@contextmanager
def serving(answers: dict[str, Any]) -> Iterator[int]:
    """A program that answers some paths with JSON, and everything else with 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answers.get(self.path)
            self.send_response(404 if body is None else 200)
            self.end_headers()
            self.wfile.write(json.dumps(body() if callable(body) else body).encode())

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server.server_port
        server.shutdown()


class Patients:
    """Stand-ins for the three services; each test sets their reports."""

    def __init__(self) -> None:
        self.views: dict[str, dict[str, Any]] = {}
        self.ports: dict[str, int] = {}
        self.metadata: dict[str, str] = {}

    def admit(self, ends: ExitStack) -> None:
        metadata = "/.well-known/oauth-authorization-server"
        for name in ROLES:
            answers = {"/_lab/view": lambda name=name: self.view(name), metadata: lambda: self.metadata}
            self.ports[name] = ends.enter_context(serving(answers))
        issuer = f"http://localhost:{self.ports['AUTH_PORT']}"
        self.metadata["issuer"] = issuer
        for name, role in ROLES.items():
            self.views[name] = {
                "role": role,
                "host": f"host-of-{role}",
                "addresses": {"client-webapp": "http://a", "auth-service": issuer, "resource-service": "http://c"},
                "issuer": issuer,
                "offset": 0,
                "stores": {"redis": ""},
                "reaches": {},
            }

    def view(self, name: str) -> dict[str, Any]:
        view = self.views[name]
        return {**view, "now": time.time() + view.get("skew", 0)}  # noqa: TID251  the system's clock is what is meant


@pytest.fixture
def patients(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Patients]:
    monkeypatch.setenv("ROLECALL_DIR", str(tmp_path))
    monkeypatch.setattr(doctor.containers, "all_containers", list)
    with ExitStack() as ends:
        admitted = Patients()
        admitted.admit(ends)
        for name, port in admitted.ports.items():
            monkeypatch.setenv(name, str(port))
        write_notice(tmp_path, admitted.ports)
        yield admitted


def write_notice(folder: Path, ports: dict[str, int], pid: int | None = None) -> None:
    """Write the file in which `make run` describes its services."""
    services = {each.name: {"url": f"http://localhost:{ports[each.port_setting]}"} for each in SERVICES}
    (folder / "running.json").write_text(json.dumps({"pid": pid or os.getpid(), "services": services}))


def report(capsys: pytest.CaptureFixture[str], code: int) -> str:
    assert doctor.main() == code
    said = capsys.readouterr().out
    assert ("✗" in said) == bool(code)
    assert said.count("→") >= bool(code)
    return said


def test_all_is_well(patients: Patients, capsys: pytest.CaptureFixture[str]) -> None:
    said = report(capsys, 0)
    assert "without a proxy" in said
    first, *lines = said.splitlines()
    places = ", ".join(f"http://localhost:{patients.ports[name]}" for name in ROLES)
    assert first == f"Lab: {places} (started by `make run`, pid {os.getpid()})"
    assert [line.split()[:2] for line in lines] == [
        ["✓", title] for title in ("ports", "addresses", "issuer", "clocks", "stores")
    ]
    patients.views["AUTH_PORT"]["offset"] = patients.views["CLIENT_PORT"]["offset"] = 301
    patients.views["RESOURCE_PORT"]["offset"] = 301
    assert "offset by 301 s" in report(capsys, 0)


def test_a_clock_that_is_off(patients: Patients, capsys: pytest.CaptureFixture[str]) -> None:
    patients.views["RESOURCE_PORT"]["skew"] = -120
    assert "the clock of resource-service (host-of-resource_server) is 120 s behind this machine's" in report(capsys, 1)
    patients.views["RESOURCE_PORT"] |= {"skew": 0, "offset": 60}
    assert "the services have different clock offsets: 0 s, 60 s" in report(capsys, 1)


def test_another_issuer(patients: Patients, capsys: pytest.CaptureFixture[str]) -> None:
    patients.views["CLIENT_PORT"]["issuer"] = "http://localhost:9"
    said = report(capsys, 1)
    assert "the services have different issuers configured: http://localhost:9 (client-webapp)" in said
    assert "the issuer http://localhost:9 is not reachable from this machine" in said
    patients.views["CLIENT_PORT"]["issuer"] = patients.views["AUTH_PORT"]["issuer"]
    patients.metadata["issuer"] = "http://elsewhere"
    assert "name the issuer http://elsewhere" in report(capsys, 1)


def test_addresses_that_differ_or_lead_nowhere(patients: Patients, capsys: pytest.CaptureFixture[str]) -> None:
    patients.views["CLIENT_PORT"]["reaches"] = {"auth-service": "http://auth-service:8001 did not answer"}
    patients.views["RESOURCE_PORT"]["addresses"] = {"client-webapp": "http://other"}
    said = report(capsys, 1)
    assert "client-webapp (host-of-client) cannot reach auth-service: http://auth-service:8001 did not answer" in said
    assert "the services have different addresses configured" in said


def test_stores(patients: Patients, capsys: pytest.CaptureFixture[str]) -> None:
    patients.views["AUTH_PORT"]["stores"] = {
        "redis": "Redis may evict what it holds (maxmemory-policy allkeys-lru); set it to noeviction",
        "sql": "the database is at revision none and this version needs 0001",
    }
    said = report(capsys, 1)
    assert "auth-service (host-of-authorization_server): Redis may evict what it holds" in said
    assert "at revision none" in said


def test_ports(patients: Patients, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    nobody = free_port()
    with serving({}) as stranger:
        ports = {"AUTH_PORT": nobody, "RESOURCE_PORT": stranger, "CLIENT_PORT": patients.ports["RESOURCE_PORT"]}
        write_notice(tmp_path, ports)
        said = report(capsys, 1)
    assert f"nothing listens on port {nobody} of the authorization server" in said
    assert f"another program responds on port {stranger} of the resource server (404)" in said
    assert "should be the client, but is the resource server" in said


def test_a_lab_of_another_checkout_is_not_used(
    patients: Patients, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """This holds even if the other lab uses the ports of this checkout, and this checkout's launcher was killed."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    for leave in (lambda: write_notice(tmp_path, patients.ports, ended.pid), (tmp_path / "running.json").unlink):
        leave()
        assert doctor.main() == 1
        output = capsys.readouterr()
        assert not output.out
        assert output.err.startswith("rolecall: the lab of this checkout is not running; start it with `make run`")
