"""The operator's view: audit events, metrics, and logs that can be correlated, all of them without secrets."""

from __future__ import annotations

import json
import logging
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from rolecall import audit
from support.auth_server import PASSWORDS, TALLY, Browser, Server, make_server, make_settings
from support.bare_service import get, gunicorn, is_healthy
from support.registration import manage, registered
from support.servers import free_port
from support.stack import wait_until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def server(tmp_path: Path, redis_url: str) -> Iterator[Server]:
    made = make_server(make_settings(tmp_path, redis_url, log_level="INFO"))
    yield made
    made.services.database.engine.dispose()
    made.services.store.client.close()


def events(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    return [vars(record) for record in caplog.records if record.name == "rolecall.audit"]


def test_a_flow_leaves_its_acts_in_order_with_one_flow_id(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    browser = server.browser()
    browser.submit("/sign-in", username="alice", password="wrong")
    browser.sign_in()
    code = browser.authorize()["code"]
    tokens = server.redeem(code).json
    server.introspect(tokens["access_token"])
    server.post("/revoke", TALLY, token=tokens["access_token"])
    server.redeem(code)
    names = [event["event"] for event in events(caplog)]
    assert names == [
        "sign_in_failed",
        "signed_in",
        "consent_given",
        "code_issued",
        "tokens_issued",
        "token_revoked",
        "code_replayed",
    ]
    flows = {event["flow_id"] for event in events(caplog)[3:]}
    assert len(flows) == 1
    assert None not in flows
    told = [vars(record) for record in caplog.records if record.name == "rolecall.access" and record.msg == "request"]
    joined = [line["path"] for line in told if line["flow_id"] in flows]
    assert joined == ["/authorize", "/token", "/introspect", "/revoke", "/token"]


def test_the_other_acts(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    browser = server.browser()
    browser.submit("/sign-up", username="carol", password="a password of hers")
    browser.authorize("deny")
    browser.authorize("allow")
    browser.client.post("/apps/disconnect", data={"client_id": "tally", "csrf_token": _token(browser, "/apps")})
    browser.submit("/sign-out")
    server.post("/token", {"Authorization": "Basic dGFsbHk6d3Jvbmc="}, grant_type="refresh_token", refresh_token="x")
    refresh = server.tokens()["refresh_token"]
    server.post("/revoke", TALLY, token=refresh)
    runner = server.app.test_cli_runner()
    runner.invoke(args=["keys", "rotate"])
    runner.invoke(args=["add-user", "dora"], input="a password of hers\n")
    names = [str(event["event"]) for event in events(caplog)]
    assert {
        "signed_up",
        "consent_denied",
        "consent_given",
        "consent_taken_back",
        "signed_out",
        "client_authentication_failed",
        "authorization_revoked",
        "keys_rotated",
        "user_added",
    } <= {*names}


def test_what_is_refused_leaves_its_act_as_well(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """OWASP ASVS 5.0 16.3.2, 16.3.3: failed attempts to bypass protections are logged."""
    caplog.set_level(logging.INFO)
    client = server.app.test_client()
    token = server.tokens()["access_token"]
    made = client.post("/register", json={"redirect_uris": ["https://rp.example/cb"]}).json
    path, wrong = f"/register/{made['client_id']}", {"Authorization": "Bearer wrong"}
    good = {"Authorization": f"Bearer {made['registration_access_token']}"}
    acts = {
        "form_refused": lambda: client.post("/sign-in", data={"username": "alice", "password": "x"}),
        "access_token_refused": lambda: client.get("/userinfo", headers={"Authorization": f"Bearer {token}"}),
        "registration_refused": lambda: client.get(path, headers=wrong),
        "client_authentication_failed": lambda: server.post("/revoke", {"Authorization": "Basic x"}, token="x"),
    }
    for event, act in acts.items():
        caplog.clear()
        assert act().status_code in {400, 401, 403}
        assert [each["event"] for each in events(caplog)] == [event]
    caplog.clear()
    client.post("/register", json={}, headers=wrong)
    put = {"redirect_uris": ["https://rp.example/other"], "client_id": made["client_id"]}
    assert client.put(path, json=put, headers=good).status_code == 200
    client.delete(path, headers=good)
    names = [each["event"] for each in events(caplog)]
    assert names == ["registration_refused", "registration_changed", "client_ended"]


def _token(browser: Browser, path: str) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', browser.client.get(path).text)
    assert found is not None
    return found[1]


def test_no_secret_is_in_any_line(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """The log does not contain any of the secrets of a flow."""
    handler = logging.getLogger().handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(sys.stdout)
    logging.getLogger().setLevel(logging.DEBUG)
    browser = server.browser()
    browser.submit("/sign-in", username="alice", password="a wrong password")
    browser.sign_in()
    code = browser.authorize()["code"]
    tokens = server.redeem(code).json
    later = server.refresh(tokens["refresh_token"]).json
    server.introspect(tokens["access_token"])
    server.redeem(code)
    cookies = [cookie.value for cookie in browser.client._cookies.values()]
    said = capsys.readouterr().out
    assert '"event": "code_replayed"' in said
    for secret in (
        PASSWORDS["alice"],
        "a wrong password",
        code,
        tokens["access_token"],
        tokens["refresh_token"],
        later["access_token"],
        later["refresh_token"],
        *cookies,
        TALLY["Authorization"].split()[1],
    ):
        assert secret not in said
    for line in said.splitlines():
        assert {"level", "logger", "message", "service", "timestamp"} <= json.loads(line).keys()


def test_every_event_is_described_and_an_unknown_one_is_refused(server: Server) -> None:
    used = set()
    for folder in ("auth-service", "resource-service", "client-webapp", "shared"):
        for file in (ROOT / folder).rglob("*.py"):
            used |= set(re.findall(r'audit\.record\(\s*"(\w+)"', file.read_text()))
    in_two_words = {"consent_given", "consent_denied", "client_registered", "resource_registered"}
    assert used | in_two_words == audit.EVENTS.keys()
    with server.app.app_context(), pytest.raises(KeyError):
        audit.record("nothing of this kind")


def test_requests_refusals_and_acts_are_counted(server: Server) -> None:
    def count(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(name, {"service": "auth-service", **labels}) or 0.0

    before = count("rolecall_requests_total", route="token", method="POST", status="400")
    refused = count("rolecall_refusals_total", error="invalid_grant")
    failed = count("rolecall_audit_events_total", event="sign_in_failed")
    seconds = count("rolecall_request_seconds_count", route="token")
    server.redeem("no such code")
    server.browser().submit("/sign-in", username="alice", password="wrong")
    assert count("rolecall_requests_total", route="token", method="POST", status="400") == before + 1
    assert count("rolecall_refusals_total", error="invalid_grant") == refused + 1
    assert count("rolecall_audit_events_total", event="sign_in_failed") == failed + 1
    assert count("rolecall_request_seconds_count", route="token") == seconds + 1
    for strange in ("BREW", "PROPFIND"):
        server.app.test_client().open("/token", method=strange)
    assert count("rolecall_requests_total", route="none", method="other", status="405") >= 2


def test_a_request_that_runs_when_the_service_stops_is_finished(tmp_path: Path) -> None:
    """SIGTERM while a body is being sent: new connections are refused, and the current request gets its response."""
    # one worker, because one that is still starting misses the signal; a busy machine may need more than 8 seconds
    patient = {"GUNICORN_CMD_ARGS": "--graceful-timeout 60 --workers 1"}
    with (
        gunicorn(tmp_path, **patient) as (process, port),
        socket.create_connection(("127.0.0.1", port), 60) as under_way,
    ):
        head = "POST /token HTTP/1.1\r\nHost: auth.example\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        under_way.sendall(f"{head}Content-Length: 22\r\nExpect: 100-continue\r\n\r\n".encode())
        assert under_way.recv(1000).startswith(b"HTTP/1.1 100 "), "no thread has accepted the request"
        process.terminate()
        wait_until(lambda: not is_healthy(port))
        under_way.sendall(b"grant_type=password&x=")
        answer = b""
        while chunk := under_way.recv(1000):
            answer += chunk
        assert answer.startswith(b"HTTP/1.1 400 "), answer
        assert b"unsupported_grant_type" in answer or b"invalid" in answer
        assert process.wait(60) == 0


def test_metrics_of_all_workers_have_a_port_of_their_own(tmp_path: Path, redis_url: str) -> None:
    metrics = free_port()
    with gunicorn(tmp_path, METRICS_PORT=str(metrics), REDIS_URL=redis_url) as (_, port):
        for _ in range(20):
            get(f"http://127.0.0.1:{port}/sign-in")
        text = get(f"http://127.0.0.1:{metrics}/metrics")
        assert re.search(r'rolecall_requests_total\{[^}]*route="sign-in"[^}]*\} 20\.0', text), text
        assert "redis_memory" in get(f"http://127.0.0.1:{port}/readyz")
        measured = 'rolecall_redis_memory_used_ratio{service="auth-service"} 0.0'
        assert measured in get(f"http://127.0.0.1:{metrics}/metrics")
        assert "rolecall_requests" not in get(f"http://127.0.0.1:{port}/metrics")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("auth.example", 200),
        ("auth.example:8001", 200),
        ("[::1]:8001", 200),
        ("auth.example.", 200),
        ("a" * 64, 400),
        ("a." * 140, 400),
        ("evil@auth.example", 400),
        ("auth.example/path", 400),
        ("auth example", 400),
        ("auth.example:http", 400),
        ("äuth.example", 400),
    ],
)
def test_a_host_that_can_be_none_is_refused(server: Server, host: str, status: int) -> None:
    """RFC 9112 section 3.2."""
    response = server.app.test_client().get("/sign-in", environ_overrides={"HTTP_HOST": host})
    assert response.status_code == status


def test_an_empty_body_has_no_media_type(server: Server) -> None:
    """RFC 9110 section 8.3, RFC 7009 section 2.2; the response to HEAD has the headers of GET (section 9.3.2)."""
    browser = server.browser()
    browser.sign_in()
    client = registered(server)
    empty = [
        server.post("/revoke", TALLY, token="x"),
        manage(server, client, "DELETE"),
        browser.request(scope="nonsense"),
        browser.client.options("/token"),
    ]
    assert [(response.status_code, response.data) for response in empty] == [
        (200, b""),
        (204, b""),
        (303, b""),
        (200, b""),
    ]
    for response in empty:
        assert "Content-Type" not in response.headers
    assert browser.client.head("/jwks").headers["Content-Type"] == "application/jwk-set+json"
