"""The running lab under the name of another site, and its recordings of secrets in the wrong place."""

from __future__ import annotations

import base64
import json
import re
import secrets
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
import redis

from rolecall_auth.routes import ROUTES as AUTH
from rolecall_client.routes import ROUTES as CLIENT
from rolecall_lab.observer.routes import ROUTES as OBSERVER
from rolecall_lab.recording.recorder import STREAM
from rolecall_lab.walker import Walker
from rolecall_resource.routes import ROUTES as RESOURCE
from support.observer_pages import flow_ids
from support.stack import Stack, wait_until

pytestmark = pytest.mark.integration

LAB = (
    ("GET", "/_lab/clock"), ("PUT", "/_lab/clock"), ("DELETE", "/_lab/clock"), ("GET", "/_lab/events"),
    ("DELETE", "/_lab/events"), ("GET", "/_lab/flows"), ("GET", "/_lab/view"), ("GET", "/_lab/acts"),
    ("POST", "/_lab/acts"), ("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/static/rolecall/rolecall.css"),
    ("GET", "/no-such-page"),
)  # fmt: skip
TALLY = (
    ("GET", "/flows"), ("GET", "/flows/more_scope"), ("POST", "/flows/more_scope/start"), ("GET", "/compare"),
    ("POST", "/compare/back"), ("POST", "/compare/event"), ("POST", "/compare/measure"),
)  # fmt: skip


def send(url: str, method: str, path: str, host: str) -> int:
    """Send a request as a page of another site could after DNS rebinding; return the status."""
    parts = urlsplit(url)
    connection = HTTPConnection("127.0.0.1", parts.port or 80, timeout=60)
    headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    try:
        connection.request(method, path, body="{}" if method in {"POST", "PUT"} else None, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.smoke
def test_every_path_is_refused_under_another_host_name(stack: Stack) -> None:
    services = {
        stack.client: (CLIENT, TALLY), stack.auth: (AUTH, ()), stack.api: (RESOURCE, ()), stack.observer: (OBSERVER, ())
    }  # fmt: skip
    stack.call("PUT", f"{stack.auth}/_lab/clock", b'{"offset": 50}')
    _, acts = stack.get(f"{stack.auth}/_lab/acts")
    try:
        for url, (routes, more) in services.items():
            parts = urlsplit(url)
            asked = [(method, route.path) for route in routes for method in route.methods]
            for method, path in (*asked, *more, *LAB):
                real = parts.path + re.sub(r"<[^>]+>", "1", path)
                assert send(url, method, real, f"evil.example:{parts.port}") == 403, (method, url, path)
            assert send(url, "GET", f"{parts.path}/", f"evil.test:{parts.port}") == 403
        assert stack.get(f"{stack.auth}/_lab/clock")[1]["offset"] == 50
        assert stack.get(f"{stack.auth}/_lab/acts")[1] == acts
    finally:
        stack.call("DELETE", f"{stack.auth}/_lab/clock", None)


def test_secrets_in_the_wrong_place_are_not_recorded(stack: Stack) -> None:
    """Tokens of client registration, a password in the name field, and a client secret as `client_id`."""
    metadata = {"redirect_uris": ["http://127.0.0.1/cb"], "application_type": "native", "scope": "invoices:read"}
    _, registered = call(stack, "POST", "/register", metadata)
    bearer = f"Bearer {registered['registration_access_token']}"
    replaced = {**metadata, "client_id": registered["client_id"], "redirect_uris": ["javascript:1"]}
    status, _ = call(stack, "PUT", f"/register/{registered['client_id']}", replaced, Authorization=bearer)
    assert status == 400
    hidden = {name: f"mark-{name}-{secrets.token_hex(8)}" for name in ("initial", "basic", "form", "path", "typed")}
    refused = {"redirect_uris": ["javascript:1"]}
    assert call(stack, "POST", "/register", refused, Authorization=f"Bearer {hidden['initial']}")[0] >= 400
    basic = base64.b64encode(f"{hidden['basic']}:tally".encode()).decode()
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    stack.call("POST", f"{stack.auth}/token", b"grant_type=x", Authorization=f"Basic {basic}", **form)
    body = urlencode({"grant_type": "authorization_code", "client_id": hidden["form"]}).encode()
    stack.call("POST", f"{stack.auth}/token", body, **form)
    stack.get(f"{stack.auth}/authorize?{urlencode({'client_id': hidden['form'], 'state': 'the-state-of-the-secret'})}")
    stack.call("DELETE", f"{stack.auth}/register/{hidden['path']}", None, Authorization="Bearer x")
    walker = Walker()
    walker.submit(walker.open(f"{stack.auth}/sign-in"), username=hidden["typed"], password="not-a-password")
    walker.submit(walker.open(f"{stack.auth}/sign-in"), username="alice", password="not-a-password-either")
    hidden["registration"] = registered["registration_access_token"]

    def events() -> list[dict[str, Any]]:
        # Tally's endpoint only flushes Tally's queue
        with redis.Redis.from_url(stack.redis_url) as store:
            entries: Any = store.xrange(STREAM)
        return [json.loads(fields[b"event"]) for _, fields in entries]

    def sign_ins() -> list[Any]:
        return [each["form"].get("username") for each in events() if each["path"] == "/sign-in" and each["form"]]

    wait_until(lambda: sign_ins()[-1:] == ["alice"])
    texts = [json.dumps(events())]
    for flow in flow_ids(stack)[:8]:
        names = ("curl?secrets=yes", "har?secrets=yes", "json?secrets=yes", "json", "mermaid", "svg")
        paths = ("", "/messages/1", *(f"/export/{name}" for name in names))
        texts += [Walker().open(f"{stack.observer}/flows/{flow}{path}").text for path in paths]
    assert any("the-state-of-the-secret" in text for text in texts[1:]), "the pages of these flows were read"
    for name, value in hidden.items():
        assert not any(value in text for text in texts), name
    assert {"hidden": True} in sign_ins()
    [presented] = [each for each in events() if each["method"] == "PUT" and each["path"].startswith("/register/")][-1:]
    assert presented["request_headers"]["authorization"] == {"scheme": "Bearer", "token": {"hidden": True}}
    assert presented["json"]["client_id"] == registered["client_id"]


def call(stack: Stack, method: str, path: str, document: dict[str, Any], **headers: str) -> tuple[int, dict[str, Any]]:
    body = json.dumps(document).encode()
    return stack.call(method, f"{stack.auth}{path}", body, Content_Type="application/json", **headers)
