"""Three real services with a real Redis and HTTP between them: the flow and the lab as a user sees them."""

from __future__ import annotations

import dataclasses
import http.client
import json
import os
import re
import secrets
import socket
import subprocess
import sys
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import pytest

from rolecall_lab import demo
from rolecall_lab.launcher.environment import inherited
from rolecall_lab.recording.event import SCHEMA
from rolecall_lab.walker import Walker
from support.observer_pages import picture_of
from support.stack import Stack, lab_command, wait_until
from support.tally_pages import connected, press, statuses, tokens_of_a_native_client

pytestmark = pytest.mark.integration


@pytest.mark.smoke
def test_alice_sees_her_invoices_and_bob_his(stack: Stack) -> None:
    _, alice = connected(stack)
    _, bob = connected(stack, "bob", "builder-lab")
    assert "12 invoices" in alice.text
    assert "Wonderland Tea House" in alice.text
    assert "12 invoices" in bob.text
    assert "Wonderland" not in bob.text


@pytest.mark.smoke
def test_both_ways_of_checking_say_what_they_did(stack: Stack) -> None:
    walker, _ = connected(stack)
    page = walker.open(f"{stack.client}/invoices?check=both")
    assert statuses(page) == ["200", "200"]
    assert "token.active" in page.text
    assert "token.signature" in page.text
    assert "/introspect</code>" in page.text


@pytest.mark.smoke
def test_a_revoked_token_is_noticed_by_asking_and_not_by_the_signature(stack: Stack) -> None:
    walker, page = connected(stack)
    page = press(walker, page, stack, "/revoke")
    assert statuses(page) == ["401", "200"]
    assert "The results differ" in page.text
    page = press(walker, page, stack, "/refresh")
    assert statuses(walker.open(f"{stack.client}/invoices?check=both")) == ["200", "200"]


def test_disconnecting_ends_everything_on_both_sides(stack: Stack) -> None:
    walker, page = connected(stack)
    page = press(walker, page, stack, "/disconnect")
    assert "Tally is disconnected" in page.text
    assert walker.open(f"{stack.client}/invoices").status == 403


def test_taking_it_back_at_the_authorization_server_ends_the_refresh_too(stack: Stack) -> None:
    walker, page = connected(stack, "bob", "builder-lab")
    apps = walker.open(f"{stack.auth}/apps")
    assert "Tally" in apps.text
    walker.submit(apps, f"{stack.auth}/apps/disconnect", client_id="tally")
    assert statuses(walker.open(f"{stack.client}/invoices")) == ["401"]
    page = press(walker, walker.open(f"{stack.client}/invoices"), stack, "/refresh")
    assert "no longer valid" in page.text


def test_denying_ends_on_a_page_that_says_so(stack: Stack) -> None:
    walker = Walker()
    page = walker.follow(walker.submit(walker.open(f"{stack.client}/"), f"{stack.client}/connect"))
    page = walker.follow(
        walker.submit(
            page,
            page.url.replace("/sign-in", "/sign-up"),
            username=f"dinah-{secrets.token_hex(4)}",
            password="a cat of my own",
        )
    )
    assert "requests access" in page.text
    page = walker.follow(walker.submit(page, decision="deny"))
    assert "You denied access" in page.text
    page = walker.follow(walker.submit(walker.open(f"{stack.client}/"), f"{stack.client}/connect"))
    page = walker.follow(walker.submit(page, decision="allow"))
    assert "You have no invoices yet" in page.text


def test_the_clock_turns_in_every_worker_of_every_service(stack: Stack) -> None:
    walker, page = connected(stack)
    try:
        status, answer = stack.call("PUT", f"{stack.api}/_lab/clock", b'{"advance": 301}')
        assert status == 200
        assert answer["workers"] == stack.workers
        for service in (stack.client, stack.auth, stack.api):
            for _ in range(6):
                assert stack.get(f"{service}/_lab/clock")[1]["offset"] == 301
        for _ in range(4):
            assert statuses(walker.open(f"{stack.client}/invoices?check=both")) == ["401", "401"]
        assert "expired" in walker.open(f"{stack.client}/invoices").text
        page = press(walker, page, stack, "/refresh")
        assert "Wonderland" in page.text
        stack.call("PUT", f"{stack.auth}/_lab/clock", b'{"advance": 61}')
        page = walker.follow(walker.submit(walker.open(f"{stack.client}/invoices"), f"{stack.client}/disconnect"))
        held = walker.submit(walker.open(f"{stack.client}/"), f"{stack.client}/connect")
        while held.location is not None and not held.location.startswith(f"{stack.client}/callback"):
            held = walker.open(held.location)
            if 'id="consent-allow"' in held.text:
                held = walker.submit(held, decision="allow")
        assert held.location is not None
        stack.call("PUT", f"{stack.auth}/_lab/clock", b'{"advance": 61}')
        assert "no longer valid" in walker.open(held.location).text, "an expired code"
    finally:
        stack.call("DELETE", f"{stack.client}/_lab/clock", None)


@pytest.mark.smoke
def test_the_flow_is_recorded_without_a_secret(stack: Stack) -> None:
    flow, _ = picture_of(stack, connected(stack)[1].text)

    def events() -> list[dict[str, Any]]:
        recorded: list[dict[str, Any]] = stack.get(f"{stack.api}/_lab/events?flow={flow}")[1]["events"]
        return recorded

    def received() -> set[tuple[str, str]]:
        return {(event["to"], event["path"]) for event in events() if event["direction"] == "received"}

    expected = {
        ("authorization_server", "/authorize"),
        ("client", "/callback"),
        ("authorization_server", "/token"),
        ("resource_server", "/invoices"),
        ("authorization_server", "/introspect"),
    }
    # each process writes its events with a different delay
    wait_until(lambda: received() >= expected)
    recorded = events()
    names = {check["name"] for event in recorded for check in event["checks"]}
    assert {"token.code_verifier", "token.code_once", "token.active", "client.iss"} <= names
    assert all(event["schema"] == SCHEMA for event in recorded)
    text = json.dumps(recorded)
    assert "wonderland-lab" not in text
    assert "lab-only" not in text
    assert not re.search(r"eyJ[\w-]+\.eyJ[\w-]+\.", text), "a complete token was recorded"


@pytest.mark.smoke
def test_no_secret_is_in_any_log(stack: Stack) -> None:
    connected(stack)
    text = "".join(stack.log(service) for service in ("client-webapp", "auth-service", "resource-service"))
    assert '"message": "request"' in text
    for secret in ("wonderland-lab", "lab-only-", "code=", "code_verifier=", "interaction="):
        assert secret not in text
    assert not re.search(r"eyJ[\w-]+\.eyJ[\w-]+", text)


@pytest.mark.embedded  # in containers, the front responds to these requests
@pytest.mark.parametrize(
    "request_head",
    [
        b"GET /callback?code={}\x7f HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /callback?code={} HTTP/9.9\r\nHost: x\r\n\r\n",
        b"{} /x HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization\x7f{}: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: {}\r\n\r\n",
    ],
)
def test_a_request_that_is_none_leaves_no_secret_in_the_log(stack: Stack, request_head: bytes) -> None:
    secret = f"S3cretOfARequest-{secrets.token_hex(12)}"
    faults = stack.log("client-webapp").count("Invalid request from")
    with socket.create_connection(("127.0.0.1", urlsplit(stack.client).port or 80), 60) as connection:
        connection.sendall(request_head.replace(b"{}", secret.encode()))
        assert connection.recv(100).startswith((b"HTTP/1.1 400", b"HTTP/1.1 501", b"HTTP/1.1 505"))
    wait_until(lambda: stack.log("client-webapp").count("Invalid request from") > faults)
    assert secret not in stack.log("client-webapp")


def test_requests_of_one_flow_share_a_trace_across_services(stack: Stack) -> None:
    connected(stack)
    trace = "0af7651916cd43dd8448eb211c80319c"
    stack.get(f"{stack.api}/invoices", traceparent=f"00-{trace}-b7ad6b7169203331-01")
    wait_until(lambda: trace in stack.log("resource-service"))


def test_a_client_that_knows_nothing_of_the_lab_gets_a_picture_too(stack: Stack) -> None:
    """The flow is found by the protocol's own parameters; the lab does not add any."""
    tokens = tokens_of_a_native_client(stack)
    status, answer = stack.get(f"{stack.api}/invoices", Authorization=f"Bearer {tokens['access_token']}")
    assert status == 200
    assert len(answer["invoices"]) == 12

    def flows() -> set[str]:
        paths = {"/token", "/invoices"}
        events = [event for event in stack.events() if event["query"].get("state") or event["path"] in paths]
        mine = [event["flow"] for event in events if "a-state-of-curl-1234" in json.dumps(event)]
        return {event["path"] for event in events if event["flow"] in mine}

    wait_until(lambda: flows() >= {"/authorize", "/token", "/invoices"})


@pytest.mark.smoke
def test_a_browser_at_another_name_of_this_machine_gets_to_the_public_one(stack: Stack) -> None:
    """A sign-in that began there would end without the session cookie."""
    for url in (f"{stack.client}/", f"{stack.auth}/sign-in", f"{stack.api}/", f"{stack.observer}/"):
        page = Walker().open(url.replace(urlsplit(url).hostname or "", "127.0.0.1", 1))
        assert (page.status, page.location) == (302, url)


def test_the_demo_prints_the_five_steps(stack: Stack) -> None:
    said = lab_command(stack, "demo")
    assert said.returncode == 0, said.stderr
    for number in range(1, 6):
        assert re.search(rf"^{number}  The ", said.stdout, re.MULTILINE)
    at_server = (f"POST {stack.base}/token", f"POST {stack.base}/introspect")
    for words in (*at_server, "code_verifier", "GET /invoices", "checks passed"):
        assert words in said.stdout
    assert "token.active" not in said.stdout
    full = lab_command(dataclasses.replace(stack, environ={**stack.environ, "FULL": "1"}), "demo")
    assert re.search("✓ token.active +RFC 7662 section 2.2", full.stdout)
    assert said.stdout.startswith(f"Lab: {stack.client}, {stack.auth}, {stack.api} (started by `make run`, pid ")
    assert said.stdout.endswith("Succeeded as expected.\n")
    assert demo.ACCOUNT[1] not in said.stdout


@pytest.mark.parametrize(("who", "password"), [("alice", "wonderland-lab"), ("bob", "builder-lab")])
def test_the_demo_leaves_the_connections_and_consents_of_other_people(stack: Stack, who: str, password: str) -> None:
    walker, _ = connected(stack, who, password)
    assert lab_command(stack, "demo").returncode == 0
    assert statuses(walker.open(f"{stack.client}/invoices?check=both")) == ["200", "200"]
    assert "Tally" in walker.open(f"{stack.auth}/apps").text


@pytest.mark.smoke
def test_the_doctor_finds_nothing_wrong(stack: Stack) -> None:
    done = lab_command(stack, "launcher.doctor")
    assert done.returncode == 0, done.stdout
    assert f"issuer     {stack.auth}, the same for all" in done.stdout


@pytest.mark.embedded
def test_the_demo_does_not_use_a_lab_of_another_checkout(tmp_path: object, stack: Stack) -> None:
    """This holds even if the other lab uses the ports that this checkout would use."""
    ports = {"CLIENT_PORT": stack.client.rpartition(":")[2], "AUTH_PORT": urlsplit(stack.auth).netloc.partition(":")[2]}
    nowhere = {"ROLECALL_DIR": str(tmp_path), "COMPOSE_PROJECT_NAME": "rolecall-none"}
    said = subprocess.run(
        [sys.executable, "-m", "rolecall_lab.demo"],
        env={**inherited(os.environ), **ports, **nowhere},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 1
    assert said.stderr.startswith(
        "rolecall: the lab of this checkout is not running; start it with `make run` in another terminal"
    )
    assert said.stderr.count("\n") == 1


@pytest.mark.embedded
def test_an_answer_to_a_body_that_is_not_read_says_that_the_connection_ends(stack: Stack) -> None:
    """RFC 9112 section 9.6: otherwise, the client would send its next request into a closed connection."""
    for length, expected, connection in ((70_000, 413, "close"), (500_000, 413, "close"), (7, 400, "keep-alive")):
        host = urlsplit(stack.auth)
        line = http.client.HTTPConnection("127.0.0.1", host.port or 80, timeout=60)
        with closing(line):
            headers = {"Host": host.netloc, "Content-Type": "application/json"}
            line.request("POST", f"{stack.base}/register", b"x" * length, headers)
            answer = line.getresponse()
            assert (answer.status, answer.headers["Connection"]) == (expected, connection)


def test_cookies_of_other_applications_on_the_host_are_read(stack: Stack) -> None:
    """RFC 6265 section 8.5: browsers send the cookies of all ports of localhost; 16 KB of them, and no more."""
    for url in (stack.client, stack.auth, stack.api):
        for size, status in ((16_000, 200), (17_000, 431)):
            connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
            with closing(connection):
                connection.request("GET", "/healthz", headers={"Cookie": "a=" + "x" * size})
                assert connection.getresponse().status == status, url


def test_two_labs_on_one_host_do_not_share_cookies(stack: Stack) -> None:
    walker, _ = connected(stack)
    ports = {urlsplit(url).port for url in (stack.client, stack.auth)}
    for port in ports:
        assert [cookie for cookie in walker.cookies if str(port) in cookie.name]
    assert all(any(str(port) in cookie.name for port in ports) for cookie in walker.cookies)
