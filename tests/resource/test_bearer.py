"""The input of the token validators: credentials, keys, metadata, and the cache (RFC 6750, 7517, 8414)."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import sqlalchemy as sa

from rolecall import clock, events
from rolecall.http import HttpResponse, Unreachable
from rolecall.settings import SettingsError
from rolecall_resource import create_app
from rolecall_resource.settings import Settings
from rolecall_resource.validators import local_jwt
from support.databases import empty_database
from support.invoices_api import EC2, Api, FakeServer, claims, jwk, token
from support.stack import wait_until

ENVIRON = {
    "ISSUER": "https://auth.example",
    "PUBLIC_URL": "https://api.example",
    "RESOURCE_IDENTIFIER": "https://api.example/invoices",
    "RESOURCE_ID": "invoices-api",
    "RESOURCE_SECRET": "a resource secret that is long enough",
    "SECRET_KEY": "a secret key of the tests, long enough",
    "DATABASE_URL": "sqlite://",
}


def age(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Make caches this much older."""
    now = time.monotonic() + seconds
    monkeypatch.setattr(clock, "monotonic", lambda: now)


def checks_of(ask: Callable[[], Any]) -> dict[str, bool]:
    with events.watching(events.Notebook()) as notebook:
        ask()
    return {note["name"]: note["passed"] for note in notebook.notes if note["kind"] == "check"}


def app_with(server: FakeServer, **environ: str) -> Any:
    return create_app(Settings.from_environ(ENVIRON | environ), http=server).test_client()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value",
    [
        "Bearer x,Bearer y",
        "Bearer x,Basic y",
        "Basic y,Bearer x",
        "basic y , bearer x",
        "DPoP x,Basic y",
        "Bearer,Bearer",
    ],
)
def test_repeated_credentials_are_refused_whatever_comes_first(api: Api, value: str) -> None:
    """RFC 6750 section 3.1: more than one method; a server joins repeated headers with commas."""
    response = api.get(Authorization=value)
    assert response.status_code == 400
    assert 'error="invalid_request"' in response.headers["WWW-Authenticate"]
    assert checks_of(lambda: api.get(Authorization=value)) == {"bearer.one_header": False}


def test_one_header_of_a_scheme_with_commas_is_not_several(api: Api) -> None:
    response = api.get(Authorization='Digest username="a", realm="b", uri="/", response="c"')
    assert response.status_code == 401
    assert "error" not in response.headers["WWW-Authenticate"]


@pytest.mark.parametrize("start", ["Bearer ", "bearer ", "BEARER   "])
def test_the_scheme_has_any_case_and_any_number_of_spaces(api: Api, start: str) -> None:
    """RFC 6750 section 2.1: `"Bearer" 1*SP b64token`; RFC 9110 section 11.1: case-insensitive."""
    assert api.get(Authorization=start + token()).status_code == 200


def test_without_credentials_the_answer_is_json_and_noted(api: Api) -> None:
    response = api.get()
    assert response.json == {}
    assert response.headers["Cache-Control"] == "no-store"
    assert checks_of(api.get)["bearer.present"] is False


@pytest.mark.parametrize("path", ["/invoices", "/invoices/i1", "/profile"])
def test_without_credentials_a_browser_gets_a_page(api: Api, path: str) -> None:
    """RFC 6750 section 3.1: the status and the challenge are the same, without an error code."""
    response = api.get(path, Accept="text/html,application/xhtml+xml,*/*;q=0.8")
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == api.get(path).headers["WWW-Authenticate"]
    assert response.mimetype == "text/html"
    assert "An access token is needed" in response.text
    assert 'href="/"' in response.text
    assert (response.headers["Cache-Control"], response.headers["Vary"]) == ("no-store", "Accept")
    for accept in ("*/*", "application/json", "application/json, text/html"):
        assert api.get(path, Accept=accept).json == {}
    assert api.get(path, token(iss="http://evil.test"), Accept="text/html").json["error"] == "invalid_token"


def test_refusals_are_logged_without_the_token(api: Api) -> None:
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    bad, good = token(iss="http://evil.test"), token()
    try:
        api.get(token=bad)
        api.server.is_away = True
        api.get(token=good, how="introspection")
        api.server.is_away, api.server.status = False, 401
        api.get(token=good, how="jwt")
    finally:
        logging.getLogger().removeHandler(handler)
    refusals = [(record.levelname, vars(record)["detail"]) for record in records if record.message == "refused"]
    assert ("INFO", "token.iss") in refusals
    assert any(level == "ERROR" for level, _ in refusals)
    text = json.dumps([vars(record) for record in records], default=str)
    assert bad.split(".")[2] not in text
    assert good.split(".")[2] not in text


@pytest.mark.parametrize(
    "bad",
    [
        "text",
        {"kid": "bad", "alg": "ES256"},
        {"kid": "bad", "alg": "RS256", "kty": "EC"},
        {"kid": "bad", "alg": "ES256", "kty": "oct", "k": "AA"},
        {"kid": "bad", "alg": "ES256", "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kid": "bad", "alg": "ES256", "kty": "EC", "crv": "P-256", "x": 5, "y": None},
        {"kid": ["bad"], "alg": ["ES256"], "kty": "EC"},
    ],
    ids=str,
)
def test_a_key_that_cannot_be_used_spoils_no_other(api: Api, bad: Any) -> None:
    """RFC 7517 section 5."""
    api.server.keys.append(bad)
    assert api.get(token=token()).status_code == 200
    assert api.get(token=token(header={"kid": "bad"})).status_code == 401


@pytest.mark.parametrize("use", ["enc", "other"])
def test_a_key_for_another_use_verifies_nothing(api: Api, use: str) -> None:
    """RFC 7517 section 4.2."""
    api.server.keys.append(jwk(EC2, "other-use", "ES256") | {"use": use})
    assert api.get(token=token(EC2, {"kid": "other-use"})).status_code == 401


@pytest.mark.parametrize("body", [b"[]", b"{}", b"not json", b'{"keys": 5}'])
def test_no_key_set_is_503(api: Api, body: bytes) -> None:
    send = api.server.send

    def sending(method: str, url: str, **rest: Any) -> HttpResponse:
        return HttpResponse(200, {}, body, 1.0) if url.endswith("/jwks") else send(method, url, **rest)

    api.server.send = sending  # type: ignore[method-assign]
    response = api.get(token=token())
    assert response.status_code == 503
    assert response.headers["Retry-After"]


def test_threads_with_an_unknown_key_share_one_fetch(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.get(token=token())
    api.server.keys.append(jwk(EC2, "new", "ES256"))
    age(monkeypatch, 11)
    api.server.gate = Event()
    with ThreadPoolExecutor(16) as pool:
        answers = [pool.submit(api.get, token=token(EC2, {"kid": "new"})) for _ in range(16)]
        wait_until(lambda: api.server.count("/jwks") == 2)
        api.server.gate.set()
        assert {answer.result().status_code for answer in answers} == {200}
    assert api.server.count("/jwks") == 2


def test_a_refetch_that_fails_is_not_repeated_at_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.get(token=token())
    api.server.is_away = True
    age(monkeypatch, 11)
    for _ in range(5):
        assert api.get(token=token(EC2, {"kid": "new"})).status_code == 401
    assert api.server.count("/jwks") == 2
    assert api.get(token=token(jti="another")).status_code == 200, "cached keys still work"


@pytest.mark.parametrize("how", ["jwt", "introspection"])
def test_who_knows_enough_waits_for_nobody_elses_fetch(api: Api, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One request renews stale keys and metadata; the others continue with the cached ones."""
    api.server.introspection = {"active": True, **claims()}
    api.get(token=token(), how=how)
    age(monkeypatch, 301)
    go_on, send, in_time = Event(), api.server.send, []

    def sending(method: str, url: str, **rest: Any) -> HttpResponse:
        answer = send(method, url, **rest)
        if "/.well-known/" in url:
            in_time.append(go_on.wait(60))
        return answer

    api.server.send = sending  # type: ignore[method-assign]
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(api.get, token=token(), how=how)
        wait_until(lambda: api.server.count("/.well-known/oauth-authorization-server") == 2)
        assert api.get(token=token(), how=how).status_code == 200
        go_on.set()
        assert first.result().status_code == 200
    assert in_time == [True]


def test_time_outs_are_shared_and_do_not_add_up(api: Api) -> None:
    go_on = Event()

    def sending(method: str, url: str, **rest: Any) -> HttpResponse:
        api.server.asked.append(url)
        go_on.wait(60)
        raise Unreachable(url, "it took too long")

    api.server.send = sending  # type: ignore[method-assign]
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(api.get, token="x", how="introspection") for _ in range(8)]
        wait_until(lambda: api.server.asked)
        go_on.set()
        assert {answer.result().status_code for answer in answers} == {503}
    assert len(api.server.asked) == 1


def test_after_an_outage_the_metadata_are_asked_for_again(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.server.is_away = True
    assert api.get(token=token()).status_code == 503
    api.server.is_away = False
    age(monkeypatch, 2)
    assert api.get(token=token()).status_code == 200


def test_metadata_outlive_an_outage_and_another_issuers_do_not_replace_them(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 8414 section 3.3."""
    api.server.introspection = {"active": True, **claims()}
    api.get(token="x", how="introspection")
    api.server.issuer = "http://evil.test"
    age(monkeypatch, 301)
    for _ in range(3):
        assert api.get(token="x", how="introspection").status_code == 200
    assert api.server.count("/.well-known/oauth-authorization-server") == 2


@pytest.mark.parametrize(
    ("backchannel", "asked"),
    [
        ("", "https://auth.example/.well-known/oauth-authorization-server/tenant"),
        ("https://auth:8001", "https://auth:8001/.well-known/oauth-authorization-server/tenant"),
        ("https://auth:8001/tenant", "https://auth:8001/.well-known/oauth-authorization-server/tenant"),
    ],
)
def test_an_issuers_path_follows_the_well_known_part(backchannel: str, asked: str) -> None:
    """RFC 8414 section 3.1."""
    server = FakeServer(issuer="https://auth.example/tenant")
    client = app_with(server, ISSUER="https://auth.example/tenant", BACKCHANNEL_URL=backchannel)
    client.get("/invoices", headers={"Authorization": f"Bearer {token()}"})
    assert server.asked[0] == asked


def test_an_identifiers_path_follows_the_well_known_part() -> None:
    """RFC 9728 sections 3.1 and 5.1."""
    client = app_with(FakeServer())
    address = "https://api.example/.well-known/oauth-protected-resource/invoices"
    assert f'resource_metadata="{address}"' in client.get("/invoices").headers["WWW-Authenticate"]
    document = client.get(address).json
    assert document["resource"] == "https://api.example/invoices"
    assert document["authorization_servers"] == ["https://auth.example"]
    assert client.get("/.well-known/oauth-protected-resource").status_code == 404


def test_a_token_is_forgotten_when_its_key_id_gets_another_key(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    good = token()
    assert api.get(token=good).status_code == 200
    api.server.keys[0] = jwk(EC2, "ec", "ES256")
    assert "token.cache" in checks_of(lambda: api.get(token=good))
    monkeypatch.setattr(local_jwt, "VERIFIED_AGE", 1000.0)
    age(monkeypatch, 301)
    assert api.get(token=good).status_code == 401


def test_the_token_that_was_used_longest_ago_leaves_the_cache_first(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_jwt, "MAX_VERIFIED", 2)
    first, second, third = (token(jti=name) for name in "abc")
    for used in (first, second, first, third):
        api.get(token=used)
    assert "token.cache" in checks_of(lambda: api.get(token=first))
    assert "token.cache" not in checks_of(lambda: api.get(token=second))


def test_a_verified_token_is_verified_again_after_a_minute(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    good = token()
    api.get(token=good)
    age(monkeypatch, 61)
    assert checks_of(lambda: api.get(token=good))["token.signature"] is True


@pytest.mark.parametrize("missing", ["iss", "jti", "iat", "scope"])
def test_introspection_may_leave_out_what_nothing_hangs_on(api: Api, missing: str) -> None:
    """RFC 7662 section 2.2: all members except `active` are optional, and a null counts as omitted."""
    for value in ("-", None):
        api.server.introspection = {"active": True, **claims(**{missing: value})}
        assert api.get(token="x", how="introspection").status_code == (403 if missing == "scope" else 200)


@pytest.mark.parametrize("change", [
    {"aud": "-"}, {"sub": "-"}, {"exp": "-"}, {"client_id": "-"}, {"jti": 5}, {"sub": ""}, {"exp": True}, {"iat": "1"},
    {"scope": ["invoices:read"]}, {"iss": ""}, {"nbf": 9_999_999_999}, {"aud": [["x"], None]},
], ids=str)  # fmt: skip
def test_introspection_must_be_right_in_what_it_says(api: Api, change: dict[str, Any]) -> None:
    api.server.introspection = {"active": True, **claims(**change)}
    assert api.get(token="x", how="introspection").status_code == 401


def test_credentials_that_the_authorization_server_refuses_are_our_fault(api: Api) -> None:
    """RFC 7662 section 2.3; the caller gets a 503 with Retry-After, and the log has the cause."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    try:
        api.server.status, api.server.introspection = 401, "no object"
        assert api.get(token="x", how="introspection").status_code == 503
    finally:
        logging.getLogger().removeHandler(handler)
    assert [vars(record)["status"] for record in records if record.message == "introspection refused"] == [401]


@pytest.mark.parametrize(("method", "path"), [("GET", "/invoices/i1%00"), ("POST", "/invoices/i1%00/payment")])
def test_an_id_that_no_database_takes_is_asked_of_none(api: Api, method: str, path: str) -> None:
    statements: list[str] = []
    engine = api.app.extensions["resource_database"].engine
    sa.event.listen(engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    response = api.call(method, path, token())
    assert response.status_code == 404
    assert response.json == api.get("/invoices/nope", token()).json
    assert not [statement for statement in statements if "\0" in statement or "UPDATE" in statement]
    assert len([statement for statement in statements if "invoice" in statement]) == 1, "the ID is in an SQL statement"


@pytest.mark.parametrize("path", ["/", "/nothing", "/invoices/", "/invoices/a/b"])
def test_what_is_not_there_is_json(api: Api, path: str) -> None:
    response = api.call("GET", path, token())
    assert response.status_code == 404
    assert response.is_json


def test_another_method_is_json_and_says_which_there_are(api: Api) -> None:
    response = api.call("DELETE", "/invoices", token())
    assert response.status_code == 405
    assert response.is_json
    assert "GET" in response.headers["Allow"]


def test_production_refuses_addresses_without_tls_and_says_so_at_once() -> None:
    plain = dict.fromkeys(("ISSUER", "PUBLIC_URL", "RESOURCE_IDENTIFIER"), "http://somewhere.example")
    with pytest.raises(SettingsError) as error:
        Settings.from_environ(ENVIRON | plain)
    assert error.value.faults == [f"{name} must be an https URL" for name in plain]
    assert Settings.from_environ(ENVIRON | plain, lab=True).validator == "jwt"


def test_every_setting_that_is_missing_is_named() -> None:
    with pytest.raises(SettingsError) as error:
        Settings.from_environ({"VALIDATOR": "both"})
    assert {*ENVIRON} <= {fault.split()[0] for fault in error.value.faults}
    assert "VALIDATOR: must be one of jwt, introspection" in error.value.faults


def test_the_command_makes_the_service_ready(tmp_path: Path) -> None:
    app = create_app(Settings.from_environ(ENVIRON | {"DATABASE_URL": empty_database("api", tmp_path)}))
    assert app.test_client().get("/readyz").status_code == 503
    assert app.test_client().get("/healthz").status_code == 200
    assert app.test_cli_runner().invoke(args=["db-upgrade"]).exit_code == 0
    assert app.test_client().get("/readyz").status_code == 200, "without the authorization server"
    app.extensions["resource_database"].engine.dispose()
