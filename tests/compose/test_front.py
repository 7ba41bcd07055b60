"""Responses of nginx itself: a page or JSON with our texts, and with the headers of every response."""

from __future__ import annotations

import json
import socket
import ssl
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import BytesParser
from pathlib import Path

import pytest

from support.authority import certify
from support.containers import ROOT, docker
from support.stack import wait_until

pytestmark = [pytest.mark.compose, pytest.mark.smoke]

HOST = "app.rolecall.test"
HOSTS = {"CLIENT_PORT": HOST, "AUTH_PORT": "auth.rolecall.test", "RESOURCE_PORT": "api.rolecall.test"}
PORTS = {"HTTPS_PORT": 8443, "HTTP_PORT": 8080, "CLIENT_PORT": 8000, "AUTH_PORT": 8001, "RESOURCE_PORT": 8002}


@dataclass(frozen=True)
class Front:
    """A container of nginx that cannot reach any service."""

    name: str
    context: ssl.SSLContext

    def address(self, port: str) -> tuple[str, int]:
        """Return the host and port under which a port of PORTS is published."""
        host, _, number = docker("port", self.name, f"{PORTS[port]}/tcp").splitlines()[0].rpartition(":")
        return host, int(number)

    def ask(
        self, port: str, request: bytes, *, plain: bool = False, server_name: str = HOST
    ) -> tuple[int, dict[str, str], str]:
        """Send bytes; return the status, the headers (with lowercase names), and the body of the response."""
        connection = socket.create_connection(self.address(port), 60)
        if port == "HTTPS_PORT" and not plain:
            connection = self.context.wrap_socket(connection, server_hostname=server_name)
        with connection as stream:
            stream.sendall(request)
            answer = b"".join(iter(lambda: stream.recv(65536), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        line, _, fields = head.partition(b"\r\n")
        headers = BytesParser().parsebytes(fields)
        return int(line.split()[1]), {name.lower(): value for name, value in headers.items()}, body.decode()


@pytest.fixture(scope="module", params=["production", "lab"])
def front(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder: Path = tmp_path_factory.mktemp("secrets")
    certify(folder, *HOSTS.values())
    folder.chmod(0o755)
    for file in folder.iterdir():
        file.chmod(0o644)
    name = f"rolecall-front-{uuid.uuid4().hex[:12]}"
    ports = {**PORTS, "OBSERVER_PORT": 8003, "HTTPS_SUFFIX": ""}
    hosts = {port.replace("PORT", "HOST"): host for port, host in HOSTS.items()}
    fill = ";".join(f"s/{word}/{value}/g" for word, value in {**ports, **hosts}.items())
    command = (
        f"sed -e '{fill}' /front/{request.param}.conf >/tmp/nginx.conf; exec nginx -c /tmp/nginx.conf -g 'daemon off;'"
    )
    published = [part for port in PORTS.values() for part in ("--publish", f"127.0.0.1::{port}")]
    volumes = ["--volume", f"{ROOT}/compose/front:/front:ro", "--volume", f"{folder}:/run/secrets:ro"]
    docker("network", "create", name)  # with a resolver that does not know the services' names
    docker(
        "run",
        "--detach",
        "--name",
        name,
        "--network",
        name,
        *published,
        *volumes,
        "nginx:1-alpine",
        "sh",
        "-ec",
        command,
    )
    started = Front(name, ssl.create_default_context(cafile=str(folder / "ca")))
    try:
        wait_until(lambda: _answers(started, "HTTP_PORT" if request.param == "production" else "CLIENT_PORT"))
        yield started
    finally:
        docker("rm", "--force", name)
        docker("network", "rm", name)


def _answers(front: Front, port: str) -> bool:
    try:
        return front.ask(port, UNREAD[505])[0] == 505
    except (OSError, IndexError):
        return False


def refused(accept: str, host: str = HOST) -> dict[int, bytes]:
    """Return requests that the front itself rejects, by the status of the response."""
    head = f"Host: {host}\r\nAccept: {accept}\r\nConnection: close\r\n".encode()
    return {
        400: b"GET / HTTP/1.1\r\n" + head + b"Content-Length: -1\r\n\r\n",
        405: b"TRACE / HTTP/1.1\r\n" + head + b"\r\n",
        413: b"POST / HTTP/1.1\r\n" + head + b"Content-Length: 2000000\r\n\r\n",
        431: b"GET / HTTP/1.1\r\n" + head + b"X: " + b"x" * 40_000 + b"\r\n\r\n",
        501: b"POST / HTTP/1.1\r\n" + head + b"Transfer-Encoding: gzip\r\n\r\n",
    }


UNREAD = {
    400: b"GET / HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n",
    414: b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    505: b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
}
"""Requests that the front rejects before it reads the Accept header."""


def port_of(front: Front) -> str:
    return "HTTPS_PORT" if "production.conf" in docker("inspect", front.name) else "CLIENT_PORT"


def well_made(front: Front, port: str, headers: dict[str, str]) -> None:
    assert headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["server"] == "nginx", "without its version"
    assert headers.get("strict-transport-security") == ("max-age=31536000" if port == "HTTPS_PORT" else None)


@pytest.mark.parametrize("status", [400, 405, 413, 431, 501])
def test_a_refusal_is_a_page_for_a_person_and_json_for_a_program(front: Front, status: int) -> None:
    port = port_of(front)
    answered, headers, body = front.ask(port, refused("text/html,*/*;q=0.8")[status])
    assert (answered, headers["content-type"]) == (status, "text/html")
    assert f"Error · {status}" in body
    assert "<center>" not in body, "the page is nginx's default page"
    well_made(front, port, headers)
    answered, headers, body = front.ask(port, refused("application/json")[status])
    assert (answered, headers["content-type"]) == (status, "application/json")
    assert json.loads(body)["error"] == "invalid_request"
    well_made(front, port, headers)


@pytest.mark.parametrize("status", UNREAD)
def test_whoever_names_nothing_that_can_be_read_gets_json(front: Front, status: int) -> None:
    port = port_of(front)
    answered, headers, body = front.ask(port, UNREAD[status])
    assert answered == status
    assert set(json.loads(body)) == {"error", "error_description"}
    well_made(front, port, headers)


def test_another_host_gets_no_more_than_that(front: Front) -> None:
    """RFC 9110 section 15.5.20."""
    if port_of(front) == "CLIENT_PORT":
        pytest.skip("the lab serves every name")
    asked = b"GET / HTTP/1.1\r\nHost: evil.example\r\nAccept: text/html\r\nConnection: close\r\n\r\n"
    for port in ("HTTPS_PORT", "HTTP_PORT"):
        status, headers, body = front.ask(port, asked)
        assert status == 421
        assert "Error · 421" in body
        well_made(front, port, headers)
    status, headers, _ = front.ask("HTTPS_PORT", asked, plain=True)
    assert status == 400, "plain HTTP on a TLS port"
    well_made(front, "HTTP_PORT", headers)


def test_an_absent_service_is_told_as_before(front: Front) -> None:
    port = port_of(front)
    for accept, said in (("text/html", "One moment, please"), ("application/json", "temporarily_unavailable")):
        asked = f"GET / HTTP/1.1\r\nHost: {HOST}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
        status, headers, body = front.ask(port, asked.encode())
        assert (status, headers["retry-after"]) == (503, "2")
        assert said in body
        well_made(front, port, headers)


@pytest.mark.parametrize(
    ("service", "path", "is_open"),
    [
        ("AUTH_PORT", "/token", True), ("AUTH_PORT", "/s/one/register/x?y=z", True), ("AUTH_PORT", "/authorize", False),
        ("AUTH_PORT", "/.well-known/oauth-authorization-server", True), ("AUTH_PORT", "/invoices", False),
        ("RESOURCE_PORT", "/invoices/x/payment", True), ("RESOURCE_PORT", "/token", False),
        ("CLIENT_PORT", "/invoices", False), ("CLIENT_PORT", "/token", False),
    ],
)  # fmt: skip
def test_pages_of_other_origins_can_read_the_errors_of_what_they_use(
    front: Front, service: str, path: str, is_open: bool
) -> None:
    """RFC 9700 section 2.6: the errors that the front writes itself."""
    is_lab = port_of(front) == "CLIENT_PORT"
    port, host = (service if is_lab else "HTTPS_PORT"), HOSTS[service]
    head = f" HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
    requests = {
        503: f"GET {path}{head}\r\n",
        413: f"POST {path}{head}Content-Length: 2000000\r\n\r\n",
        431: f"GET {path}{head}X: {'x' * 40_000}\r\n\r\n",
        501: f"POST {path}{head}Transfer-Encoding: gzip\r\n\r\n",
    }
    for status, request in requests.items():
        answered, headers, _ = front.ask(port, request.encode(), server_name=host)
        assert answered == status
        assert headers.get("access-control-allow-origin") == ("*" if is_open else None)
        assert headers.get("access-control-expose-headers", "").startswith("WWW-Authenticate") is is_open
        assert headers["cross-origin-resource-policy"] == ("cross-origin" if is_open else "same-origin")
