"""The client's address, the scheme, and the host that trusted proxies report, in every format that proxies use."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from rolecall.limits import limit, network
from rolecall.web.proxies import UNKNOWN, behind_proxies, client_address
from support.auth_server import Server, basic, make_server, make_settings
from support.bare_service import gunicorn

NODES = {
    "203.0.113.7": "203.0.113.7",
    " 203.0.113.7 ": "203.0.113.7",
    "203.0.113.7:4711": "203.0.113.7",
    "203.0.113.7:_port": "203.0.113.7",
    '"203.0.113.7:4711"': "203.0.113.7",
    "::ffff:203.0.113.7": "203.0.113.7",
    "[::ffff:203.0.113.7]:4711": "203.0.113.7",
    "::ffff:cb00:7107": "203.0.113.7",
    "2001:db8::1": "2001:db8::1",
    "2001:DB8:0:0::1": "2001:db8::1",
    "[2001:db8::1]": "2001:db8::1",
    "[2001:db8::1]:4711": "2001:db8::1",
    '"[2001:db8::1]:4711"': "2001:db8::1",
    '"[2001:db8::1]"': "2001:db8::1",
    "2001:db8:1:2:3:4:5:6:4711": "2001:db8:1:2:3:4:5:6",
    "fe80::1%eth0": "fe80::1%eth0",
    "[fe80::1%eth0]:80": "fe80::1%eth0",
    "_hidden": "_hidden",
    '"_SEVKISEK:_x"': "_SEVKISEK",
    "unknown": UNKNOWN,
    "unknown:4711": UNKNOWN,
    "": UNKNOWN,
    "_": UNKNOWN,
    "_a b": UNKNOWN,
    "203.0.113.7:port": UNKNOWN,
    "203.0.113.7:123456": UNKNOWN,
    "203.0.113.256": UNKNOWN,
    "auth.example": UNKNOWN,
    "[2001:db8::1": UNKNOWN,
    "unix:": UNKNOWN,
    f"_{'x' * 255}": f"_{'x' * 255}",
    f"_{'x' * 256}": UNKNOWN,
}


@pytest.mark.parametrize(("node", "address"), NODES.items())
def test_every_form_of_a_node_gives_its_address(node: str, address: str) -> None:
    """RFC 7239 section 6."""
    assert client_address(node) == address
    assert network(node) == network(address)


@pytest.mark.parametrize(
    "forms",
    [
        ("203.0.113.7:1", "203.0.113.7:2", '"203.0.113.7"', "[::ffff:203.0.113.7]:3"),
        ("[2001:db8:1:2::1]:1", "2001:db8:1:2::2", '"[2001:db8:1:2:3::]"', "2001:db8:1:2::3%eth0"),
    ],
)
def test_the_port_and_the_form_make_no_other_network(forms: tuple[str, ...]) -> None:
    assert len({*map(network, forms)}) == 1


def test_clients_of_different_owners_are_different_networks() -> None:
    """RFC 4291 section 2.5.5, RFC 4380 section 4, RFC 6052 section 2.1: their addresses may share a /64."""
    nodes = (
        "203.0.113.7:4711", "203.0.113.8:4711", "[2001:db8:1:2::1]:4711", "[2001:db8:1:3::1]:4711",
        "64:ff9b::203.0.113.9", "64:ff9b::203.0.113.10", "fe80::1%eth0", "fe80::1%eth1", "[fe80::2]:1", "::1",
        "::203.0.113.11", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:0:4136:e378:8000:63bf:3fff:fdd3",
        "_hidden", "_secret:1",
    )  # fmt: skip
    networks = [network(node) for node in nodes]
    assert len({*networks}) == len(nodes)
    assert UNKNOWN not in networks
    assert network("64:ff9b::203.0.113.7") == network("203.0.113.7")


def effective(count: int, **environ: str) -> tuple[str, str, str]:
    """The address, the scheme, and the host that an application behind so many proxies uses."""
    own = {"REMOTE_ADDR": "192.0.2.9", "wsgi.url_scheme": "http", "HTTP_HOST": "inner.example"}
    seen: dict[str, Any] = {}
    behind_proxies(lambda environ, _start: seen.update(environ) or (), count)({**own, **environ}, lambda *_: print)
    return seen["REMOTE_ADDR"], seen["wsgi.url_scheme"], seen["HTTP_HOST"]


@pytest.mark.parametrize(
    ("count", "value", "address"),
    [
        (0, "203.0.113.7", "192.0.2.9"),
        (1, "203.0.113.7", "203.0.113.7"),
        (1, "198.51.100.1, 203.0.113.7:4711", "203.0.113.7"),  # Azure Application Gateway
        (1, "203.0.113.7,", "203.0.113.7"),
        (1, "198.51.100.1,, [2001:db8::1]:4711 ,", "2001:db8::1"),  # AWS Application Load Balancer
        (1, '198.51.100.1, "[2001:db8::1]:4711"', "2001:db8::1"),
        (2, "198.51.100.1, 203.0.113.7, 198.51.100.2", "203.0.113.7"),  # Apache, nginx, Envoy, HAProxy
        (2, "203.0.113.7:1,198.51.100.2:2", "203.0.113.7"),
        (2, "203.0.113.7", "192.0.2.9"),
        (9, ", ".join(f"203.0.113.{number}:1" for number in range(12)), "203.0.113.3"),
        (1, "unknown", UNKNOWN),
        (1, "_hidden", "_hidden"),
        (1, " , ", "192.0.2.9"),
        (1, '"spoofed, 203.0.113.7', "203.0.113.7"),
        (1, '"spoofed\\", 203.0.113.7', "203.0.113.7"),
        (2, '", "spoofed, 203.0.113.7, 198.51.100.2', "203.0.113.7"),
    ],
)
def test_the_address_is_the_one_that_the_outermost_trusted_proxy_wrote(count: int, value: str, address: str) -> None:
    """RFC 7239 sections 5.2 and 8.1; RFC 9110 section 5.6.1.2 for empty members of a list."""
    assert effective(count, HTTP_X_FORWARDED_FOR=value)[0] == address


@pytest.mark.parametrize(
    ("count", "value", "scheme"),
    [
        (0, "https", "http"), (1, "https", "https"), (1, "HTTPS", "https"), (1, "http, https", "https"),
        (1, "https, http", "http"), (2, "https, http", "https"), (2, "https", "http"),
        (1, "https, x'><script>", "http"),
        (1, "javascript", "http"), (1, ",", "http"),
    ],
)  # fmt: skip
def test_the_scheme_is_one_of_two(count: int, value: str, scheme: str) -> None:
    assert effective(count, HTTP_X_FORWARDED_PROTO=value)[1] == scheme


@pytest.mark.parametrize(
    ("count", "value", "host"),
    [
        (0, "outer.example", "inner.example"), (1, "outer.example", "outer.example"),
        (1, "outer.example, localhost:8001", "localhost:8001"), (2, "outer.example, localhost:8001", "outer.example"),
        (2, "evil.example, outer.example, localhost:8001", "outer.example"), (2, "outer.example", "inner.example"),
        (1, '"evil.example, outer.example', "outer.example"), (1, "[2001:db8::1]:8001", "[2001:db8::1]:8001"),
    ],
)  # fmt: skip
def test_the_host_is_the_one_that_the_outermost_trusted_proxy_wrote(count: int, value: str, host: str) -> None:
    assert effective(count, HTTP_X_FORWARDED_HOST=value)[2] == host


@pytest.fixture
def behind(tmp_path: Path, redis_url: str) -> Callable[..., Server]:
    def make(count: int, **changes: Any) -> Server:
        return make_server(make_settings(tmp_path, redis_url, trusted_proxies=count, **changes))

    return make


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("headers", [["outer.example, localhost:8001"], ["outer.example", "localhost:8001"]])
@pytest.mark.parametrize("path", ["/jwks", "/sign-in"])
def test_a_list_of_hosts_is_understood(
    behind: Callable[..., Server], count: int, headers: list[str], path: str
) -> None:
    """RFC 9110 section 5.3: in one header, or in several."""
    sent = [("X-Forwarded-Host", value) for value in headers]
    assert behind(count).app.test_client().get(path, headers=sent).status_code == 200


@pytest.mark.parametrize(
    ("count", "host", "forwarded", "status"),
    [
        (0, "auth.test", "evil@auth.test", 200), (1, "auth.test", "evil@auth.test", 400),
        (1, "auth.test", "evil@auth.test, auth.test", 200), (2, "auth.test", "evil@auth.test, auth.test", 400),
        (1, "a b", "auth.test", 200), (1, "a b", "", 400), (2, "a b", "auth.test", 400),
    ],
)  # fmt: skip
def test_only_the_host_that_is_used_has_to_be_valid(
    behind: Callable[..., Server], count: int, host: str, forwarded: str, status: int
) -> None:
    """RFC 9112 section 3.2."""
    environ = {"HTTP_HOST": host, "HTTP_X_FORWARDED_HOST": forwarded}
    assert behind(count).app.test_client().get("/jwks", environ_overrides=environ).status_code == status


def fail(server: Server, node: str) -> int:
    headers = {"X-Forwarded-For": f'"spoofed, {node}', **basic("tally", "guessed")}
    return server.app.test_client().post("/revoke", headers=headers, data={"token": "x"}).status_code


@pytest.mark.parametrize(
    ("caller", "other"),
    [
        ("203.0.113.7:{}", "203.0.113.8:4711"), ("[2001:db8:1:2::{}]:4711", "[2001:db8:1:3::1]:4711"),
        ("_hidden", "_other"), ("_hidden:_{}", "203.0.113.7"),
    ],
)  # fmt: skip
def test_failures_of_one_caller_block_no_other(behind: Callable[..., Server], caller: str, other: str) -> None:
    """RFC 9700 section 4.13, RFC 7239 section 6.3: a different port is not a different caller."""
    server = behind(1)
    assert {fail(server, caller.format(number)) for number in range(1, 63)} == {401, 429}
    assert fail(server, other) == 401


@pytest.mark.parametrize("node", ["unknown", "no address", "_"])
def test_callers_without_an_address_do_not_block_each_other(behind: Callable[..., Server], node: str) -> None:
    """RFC 7239 section 6.2: they share one limit for registrations."""
    server = behind(1, registration_limit=limit("3/hour"))
    assert {fail(server, node) for _ in range(62)} == {401}
    client = server.app.test_client()
    nodes = [node, "_hidden", "unknown", "unknown", "unknown"]
    answers = [client.post("/register", json={}, headers={"X-Forwarded-For": each}).status_code for each in nodes]
    assert answers == [400, 400, 400, 400, 429]


def test_the_address_in_the_log_has_no_port(behind: Callable[..., Server], capsys: pytest.CaptureFixture[str]) -> None:
    fail(behind(1, log_level="INFO"), '"[2001:db8::1]:4711"')
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["address"] for line in lines if "address" in line] == ["2001:db8::1"]


def test_without_trusted_proxies_gunicorn_believes_none_either(tmp_path: Path) -> None:
    """By default, gunicorn accepts the scheme from callers on this machine, and rejects contradictory headers."""
    with gunicorn(tmp_path) as (_, port), closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        for proto, ssl in (("https", "on"), ("https, http", "on"), ("http", "on")):
            connection.request("GET", "/healthz", headers={"X-Forwarded-Proto": proto, "X-Forwarded-Ssl": ssl})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200
            assert "Strict-Transport-Security" not in answer.headers
