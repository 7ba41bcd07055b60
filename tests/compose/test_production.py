"""`compose.production.yml`, started with the certificate authority of the test."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from rolecall_lab.walker import Page, Walker
from support.authority import certify
from support.containers import ROOT
from support.servers import free_port
from support.stack import Stack
from support.tally_pages import press, statuses

pytestmark = pytest.mark.compose

HOSTS = {name: f"{name.split('_')[0].lower()}.rolecall.test" for name in ("AUTH_HOST", "RESOURCE_HOST", "CLIENT_HOST")}
SERVICES = ("auth-service", "resource-service", "client-webapp")


class Production:
    """The project, with the ports and host names of the test."""

    def __init__(self, folder: Path) -> None:
        self.secrets = folder / "secrets"
        self.port, self.plain_port = free_port(), free_port()
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/root"),
            "COMPOSE_PROJECT_NAME": f"rolecall-production-{self.port}",
            "SECRETS": str(self.secrets),
            "CA_FILE": str(self.secrets / "ca"),
            "HTTPS_PORT": str(self.port),
            "HTTPS_SUFFIX": f":{self.port}",
            "HTTP_PORT": str(self.plain_port),
            "LISTEN": "127.0.0.1",
            **HOSTS,
        }
        url = {name: f"https://{host}:{self.port}" for name, host in HOSTS.items()}
        self.auth, self.api, self.client = url["AUTH_HOST"], url["RESOURCE_HOST"], url["CLIENT_HOST"]

    def compose(self, *arguments: str, stdin: str = "", check: bool = True) -> str:
        done = subprocess.run(
            ["docker", "compose", "-f", "compose.production.yml", *arguments],
            cwd=ROOT,
            env=self.environ,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert not check or done.returncode == 0, (arguments, done.stdout[-500:], done.stderr[-2000:])
        return done.stdout + ("" if check else done.stderr)

    def flask(self, *arguments: str, stdin: str = "") -> str:
        app = "rolecall_auth.wsgi:app()"
        return self.compose("exec", "-T", "auth-service", "flask", "--app", app, *arguments, stdin=stdin)

    def walker(self) -> Walker:
        """Return a browser that resolves the names to this machine, and only trusts the test's authority."""
        context = ssl.create_default_context(cafile=str(self.secrets / "ca"))

        class Local(http.client.HTTPSConnection):
            def connect(self) -> None:
                plain = socket.create_connection(("127.0.0.1", self.port), self.timeout)
                self.sock = context.wrap_socket(plain, server_hostname=self.host)

        class LocalTls(urllib.request.HTTPSHandler):
            def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
                return self.do_open(Local, request)

        return Walker(LocalTls())

    def call(self, url: str) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Send a GET request to the front as a program does; return status, headers, and body."""
        scheme, _, rest = url.partition("://")
        host, _, path = rest.partition("/")
        port = self.port if scheme == "https" else self.plain_port
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        if scheme == "https":
            context = ssl.create_default_context(cafile=str(self.secrets / "ca"))
            connection.sock = context.wrap_socket(
                socket.create_connection(("127.0.0.1", port), 60), server_hostname=host.split(":")[0]
            )
        connection.request("GET", f"/{path}", headers={"Host": host})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, answer.headers, body


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    started = Production(tmp_path_factory.mktemp("production"))
    subprocess.run(["sh", "compose/secrets.sh", str(started.secrets)], cwd=ROOT, check=True)
    certify(started.secrets, *HOSTS.values())
    for file in started.secrets.iterdir():
        file.chmod(0o644)
    try:
        started.compose("up", "--build", "--detach", "--wait", "--quiet-pull")
        secret = (started.secrets / "resource_secret").read_text()
        api = ("--identifier", started.api, "--name", "Invoices API", "--scope", "profile=see your name")
        api += ("--scope", "invoices:read=read your invoices", "--scope", "invoices:pay=pay your invoices")
        started.flask("add-resource", "invoices-api", *api, "--secret-file", "-", stdin=secret)
        secret = (started.secrets / "client_secret").read_text()
        tally = ("--name", "Tally", "--redirect-uri", f"{started.client}/callback")
        tally += ("--scope", "invoices:read invoices:pay profile")
        started.flask("add-client", "tally", *tally, "--secret-file", "-", stdin=secret)
        started.flask("add-user", "alice", "--password-file", "-", stdin="a password of alice")
        yield started
    finally:
        started.compose("down", "--volumes", "--remove-orphans", check=False)
        shutil.rmtree(started.secrets, ignore_errors=True)


def test_nobody_makes_an_account_or_registers_a_client_alone(production: Production) -> None:
    """Both are closed by default: SIGN_UP, and REGISTRATION without an initial access token."""
    page = production.walker().open(f"{production.auth}/sign-up")
    assert page.status == 403
    assert "Sign-up is closed" in page.text
    metadata = json.loads(production.walker().open(f"{production.auth}/.well-known/openid-configuration").text)
    assert metadata["registration_endpoint"] == f"{production.auth}/register"
    assert production.walker().open(f"{production.auth}/register/tally").status == 401


def test_the_flow_with_tls(production: Production) -> None:
    walker = production.walker()
    page = walker.open(f"{production.client}/")
    assert page.status == 200
    page = walker.follow(walker.submit(page, f"{production.client}/connect"))
    assert page.url.startswith(f"{production.auth}/sign-in")
    assert "wonderland-lab" not in page.text
    page = walker.follow(walker.submit(page, username="alice", password="a password of alice"))
    assert "requests access" in page.text
    page = walker.follow(walker.submit(page, decision="allow"))
    assert page.url == f"{production.client}/invoices"
    assert "You have no invoices yet" in page.text
    both = walker.open(f"{production.client}/invoices?check=both")
    assert statuses(both) == ["200"]
    assert "ask-both" not in both.text, "only the lab's API lets the caller choose"
    assert again(production, walker, page).status == 200
    cookies = {cookie.name: cookie for cookie in walker.cookies}
    assert cookies
    for name, cookie in cookies.items():
        assert name.startswith("__Host-")
        assert cookie.secure


def again(production: Production, walker: Walker, page: Page) -> Page:
    stack = Stack(ROOT, production.client, production.auth, production.api, redis_url="", pids={})
    return press(walker, page, stack, "/refresh")


def test_addresses_are_https_and_there_is_no_lab(production: Production) -> None:
    status, headers, body = production.call(f"{production.auth}/.well-known/oauth-authorization-server")
    assert status == 200
    for name in ("Strict-Transport-Security", "X-Content-Type-Options", "Content-Security-Policy", "Cache-Control"):
        assert len(headers.get_all(name, ())) == 1, "only the service sets the header, not the front"
    metadata = json.loads(body)
    assert metadata["issuer"] == production.auth
    assert all(value.startswith("https://") for name, value in metadata.items() if name.endswith("_endpoint"))
    for url in (production.auth, production.api, production.client):
        assert production.call(f"{url}/_lab/clock")[0] == 404
        assert production.call(f"{url}/healthz")[0] == 200
    plain = f"http://{HOSTS['AUTH_HOST']}:{production.plain_port}/authorize?x=1"
    status, headers, _ = production.call(plain)
    assert (status, headers["Location"]) == (308, f"{production.auth}/authorize?x=1")


@pytest.mark.parametrize("service", SERVICES)
def test_metrics_have_a_port_of_their_own_inside(production: Production, service: str) -> None:
    code = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:9000/metrics').read().decode())"
    said = production.compose("exec", "-T", service, "python", "-c", code)
    assert f'service="{service}"' in said
    assert "rolecall_request_seconds_bucket" in said


def test_another_name_gets_nothing(production: Production) -> None:
    """RFC 9110 section 7.4: 421 for a host that is not served here."""
    with socket.create_connection(("127.0.0.1", production.port), 60) as plain:
        context = ssl.create_default_context(cafile=str(production.secrets / "ca"))
        context.check_hostname = False
        with context.wrap_socket(plain, server_hostname="evil.example") as secure:
            secure.sendall(b"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
            assert b" 421 " in secure.recv(200)


def test_limits_restarts_and_logs(production: Production) -> None:
    rows = [json.loads(line) for line in production.compose("ps", "--format", "json").splitlines()]
    assert {row["Service"] for row in rows} == {*SERVICES, "front", "redis", "postgres"}
    for row in rows:
        text = subprocess.run(["docker", "inspect", row["Name"]], capture_output=True, text=True, check=True).stdout
        host = json.loads(text)[0]["HostConfig"]
        assert host["RestartPolicy"]["Name"] == "unless-stopped"
        assert host["Memory"] > 0
        assert host["NanoCpus"] > 0
        assert host["PidsLimit"] > 0
        assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "5"}
        assert host["ReadonlyRootfs"]
        assert host["CapDrop"] == ["ALL"]
        assert "no-new-privileges:true" in host["SecurityOpt"]


def test_services_meet_at_the_front_alone(production: Production) -> None:
    """The client reaches the authorization server through its public address, and no store of another service."""
    for service, others in (
        ("client-webapp", ("auth-service", "resource-service", "postgres")),
        ("resource-service", ("auth-service", "client-webapp", "redis")),
        ("auth-service", ("resource-service", "client-webapp")),
    ):
        for other in others:
            code = f"import socket; socket.getaddrinfo('{other}', 8000)"
            said = production.compose("exec", "-T", service, "python", "-c", code, check=False)
            assert "gaierror" in said, (service, other)


def test_nothing_secret_is_logged_or_inspected(production: Production) -> None:
    logs = production.compose("logs", "--no-log-prefix")
    config = production.compose("config")
    for file in production.secrets.iterdir():
        text = file.read_text().strip()
        if file.name not in {"ca", "tls_certificate", "users.acl"}:
            assert text not in logs, file.name
            assert text not in config, file.name
