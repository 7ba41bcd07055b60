"""Tokens without a user (RFC 6749 section 4.4): one permanent authorization per client, resource, and scope."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from werkzeug.test import TestResponse

from rolecall import clock
from rolecall.storage import digest
from rolecall_auth.grants import client_credentials
from rolecall_auth.models.authorization import Authorization
from rolecall_auth.models.client import Client
from rolecall_auth.models.resource import Resource
from rolecall_auth.models.token import RefreshToken
from rolecall_auth.sweep import sweep
from support.auth_server import RESOURCE, TALLY, Server, another_process, basic, claims
from support.grants import SERVICE, SERVICE_SECRET, a_service
from support.registration import KEYS, manage, register, registered
from support.signing import claims as assertion_claims
from support.signing import jwks, present, signed

pytestmark = pytest.mark.database

DAY = 86400
FAR = "http://far.test"


@pytest.fixture
def server(server: Server) -> Server:
    """The server with a client that has no users, and a second API."""
    far = Resource(identifier=FAR, resource_id="far", name="Far", secret_hash=digest("x"), scopes={"far:see": "see"})
    server.add(a_service(), far)
    return server


def ask(server: Server, headers: dict[str, str] | None = None, **form: str) -> TestResponse:
    return server.post("/token", headers or SERVICE, grant_type="client_credentials", **form)


def access_token(server: Server, **form: str) -> str:
    response = ask(server, **form)
    assert response.status_code == 200, response.text
    return str((response.json or {})["access_token"])


def authorizations(server: Server) -> list[Authorization]:
    with server.services.database.read() as session:
        return list(session.scalars(sa.select(Authorization).order_by(Authorization.created_at)))


def subject(server: Server, client_id: str = "reports") -> str:
    with server.services.database.read() as session:
        return session.get_one(Client, client_id).subject


def test_the_response_and_the_token(server: Server) -> None:
    """RFC 6749 section 4.4.3, RFC 9068 section 2.2: no refresh token, and the subject is not the client ID."""
    response = ask(server)
    assert response.status_code == 200, response.text
    assert response.headers["Cache-Control"] == "no-store"
    body = response.json or {}
    assert body.keys() == {"access_token", "token_type", "expires_in", "scope"}
    assert body["scope"] == "invoices:pay invoices:read"
    token = claims(body["access_token"])
    assert (token["sub"], token["client_id"], token["aud"]) == (subject(server), "reports", RESOURCE)
    assert token["sub"] not in {"reports", *server.ids.values()}
    assert token["sub_kind"] == "client"
    assert "auth_time" not in token
    with server.services.database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(RefreshToken)) == 0
    [authorization] = authorizations(server)
    assert (authorization.user_id, authorization.auth_time, authorization.approved) == (None, None, None)
    assert authorization.resources == {RESOURCE: body["scope"]}


def test_introspection_names_the_kind_of_the_subject(server: Server) -> None:
    """RFC 7662 section 2.2; the response for a person's token has no such member."""
    found = server.introspect(access_token(server, scope="invoices:read"))
    assert (found["active"], found["sub"], found["sub_kind"]) == (True, subject(server), "client")
    assert "sub_kind" not in server.introspect(server.tokens()["access_token"])


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"scope": "invoices:burn"}, "invalid_scope"),
        ({"scope": "far:see"}, "invalid_scope"),
        ({"scope": "invoices:read profile"}, "invalid_scope"),
        ({"scope": "openid"}, "invalid_scope"),
        ({"scope": "offline_access invoices:read"}, "invalid_scope"),
        ({"resource": "http://unknown.test"}, "invalid_target"),
        ({"resource": FAR}, "invalid_scope"),
        ({"scope": "invoices:read", "resource": FAR}, "invalid_scope"),
        ({"scope": "invoices:read\x00"}, "invalid_scope"),
    ],
)
def test_a_wrong_request_changes_nothing(server: Server, form: dict[str, str], error: str) -> None:
    """RFC 6749 section 4.4.2, RFC 8707 section 2."""
    answer = ask(server, **form)
    assert (answer.status_code, (answer.json or {})["error"]) == (400, error)
    assert authorizations(server) == []


@pytest.mark.parametrize("scope", ["openid profile email offline_access", "profile", "openid"])
def test_a_client_that_only_has_scopes_about_people_gets_nothing(server: Server, scope: str) -> None:
    """RFC 6749 section 4.4.2: also if it requests no scope."""
    server.add(a_service(client_id="people", scope=scope))
    for form in ({}, {"scope": scope}):
        answer = ask(server, basic("people", SERVICE_SECRET), **form)
        assert (answer.status_code, (answer.json or {})["error"]) == (400, "invalid_scope")


def test_scopes_of_two_resources_need_a_scope(server: Server) -> None:
    """RFC 8707 section 2.2."""
    server.add(a_service(client_id="both", scope="invoices:read far:see"))
    both = basic("both", SERVICE_SECRET)
    assert (ask(server, both).json or {})["error"] == "invalid_scope"
    for scope, resource in (("far:see", FAR), ("invoices:read", RESOURCE)):
        token = claims((ask(server, both, scope=scope, resource=resource).json or {})["access_token"])
        assert (token["aud"], token["scope"]) == (resource, scope)


@pytest.mark.parametrize("pairwise", ["public", "pairwise"])
def test_the_profile_and_the_subject_type_make_no_difference(server: Server, pairwise: str) -> None:
    server.add(a_service(client_id="other", profile="openid", subject_type=pairwise))
    answer = ask(server, basic("other", SERVICE_SECRET))
    assert claims((answer.json or {})["access_token"])["sub"] == subject(server, "other")


def test_clients_without_the_grant_and_public_ones_are_refused(server: Server) -> None:
    """RFC 6749 section 4.4: the grant is for confidential clients, even if the database says otherwise."""
    answer = ask(server, TALLY)
    assert (answer.status_code, (answer.json or {})["error"]) == (400, "unauthorized_client")
    server.add(a_service(client_id="public", token_endpoint_auth_method="none", secret_hash=None))
    answer = server.post("/token", grant_type="client_credentials", client_id="public")
    assert (answer.status_code, (answer.json or {})["error"]) == (401, "invalid_client")
    answer = ask(server, basic("reports", "wrong"))
    assert (answer.status_code, (answer.json or {})["error"]) == (401, "invalid_client")
    assert authorizations(server) == []


def test_a_client_with_a_key_gets_a_token(server: Server) -> None:
    """RFC 7523 section 2.2."""
    method = {"token_endpoint_auth_method": "private_key_jwt", "secret_hash": None, "jwks": jwks()}
    server.add(a_service(client_id="signer", **method))
    answer = present(server, signed(assertion_claims("signer")), grant_type="client_credentials")
    assert answer.status_code == 200, answer.text


def test_one_authorization_serves_every_token(server: Server) -> None:
    """Issuing a token writes nothing to SQL once the authorization exists."""
    token = access_token(server)
    written: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.lstrip().upper().startswith(("SELECT", "BEGIN", "PRAGMA")):
            written.append(statement)

    engine = server.services.database.engine
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        tokens = [token, *(access_token(server, scope="invoices:pay invoices:read") for _ in range(3))]
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)
    assert written == []
    assert len({*tokens}) == 4
    assert {claims(each)["authorization_id"] for each in tokens} == {authorizations(server)[0].id}
    access_token(server, scope="invoices:read")
    assert len(authorizations(server)) == 2


def test_a_longer_lifetime_of_its_tokens_is_recorded_once(server: Server) -> None:
    access_token(server)
    assert authorizations(server)[0].token_lifetime == 300
    longer = another_process(server, access_token_lifetime=900)
    access_token(longer)
    assert authorizations(server)[0].token_lifetime == 900
    access_token(server)
    [authorization] = authorizations(server)
    assert (authorization.token_format, authorization.token_lifetime) == ("jwt", 900)


def test_concurrent_first_requests_create_one_authorization(server: Server) -> None:
    with ThreadPoolExecutor(16) as pool:
        tokens = list(pool.map(lambda _: access_token(server), range(16)))
    assert len(authorizations(server)) == 1
    assert {claims(each)["authorization_id"] for each in tokens} == {authorizations(server)[0].id}


def disable(server: Server, client_id: str = "reports") -> None:
    result = server.app.test_cli_runner().invoke(args=["disable-client", client_id])
    assert result.exit_code == 0, result.output


def test_an_authorization_that_has_ended_is_never_used_again(server: Server) -> None:
    """RFC 7009 section 2.1: its tokens stay inactive when the client is enabled again."""
    before = access_token(server)
    disable(server)
    assert not server.is_active(before)
    server.services.registry.forget("reports")
    assert ask(server).status_code == 401
    with server.services.database.transaction() as session:
        session.get_one(Client, "reports").disabled_at = None
    after = access_token(server)
    assert claims(after)["authorization_id"] != claims(before)["authorization_id"]
    assert server.is_active(after)
    assert not server.is_active(before)
    assert [authorization.ended_at is None for authorization in authorizations(server)] == [False, True]


def test_a_disabled_client_creates_nothing_while_another_process_remembers_it(server: Server) -> None:
    """The registry of a process may hold a client for two more seconds."""
    other = another_process(server)
    assert other.services.registry.client("reports")
    disable(server)
    assert other.services.registry.client("reports"), "the cache is what this test is about"
    answer = ask(other)
    assert (answer.status_code, (answer.json or {})["error"]) == (400, "unauthorized_client")
    assert authorizations(server) == []


def test_a_revoked_token_leaves_the_others(server: Server) -> None:
    """RFC 7009 section 2."""
    first, second = access_token(server), access_token(server)
    assert server.post("/revoke", SERVICE, token=first).status_code == 200
    assert not server.is_active(first)
    assert server.is_active(second)
    assert (server.post("/revoke", TALLY, token=second).json or {})["error"] == "invalid_grant"


def test_the_sweep_keeps_an_authorization_in_use(server: Server) -> None:
    access_token(server)
    clock.set_offset(30 * DAY)
    token = access_token(server)
    sweep(server.services)
    assert len(authorizations(server)) == 1
    disable(server)
    assert not server.is_active(token)
    clock.set_offset(60 * DAY)
    sweep(server.services)
    assert authorizations(server) == []


def test_userinfo_rejects_the_token(server: Server) -> None:
    """OpenID Connect Core section 5.3.1: userinfo needs a person."""
    bearer = {"Authorization": f"Bearer {access_token(server)}"}
    answer = server.app.test_client().get("/userinfo", headers=bearer)
    assert (answer.status_code, (answer.json or {})["error"]) == (403, "insufficient_scope")


def test_the_audit_log_has_both_events(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    access_token(server)
    access_token(server)
    found = [vars(record) for record in caplog.records if record.name == "rolecall.audit"]
    assert [each["event"] for each in found] == ["client_authorized", "tokens_issued", "tokens_issued"]
    assert {each["client_id"] for each in found} == {"reports"}
    assert found[1]["flow_id"] == authorizations(server)[0].id


def test_a_client_registers_for_it_and_needs_no_redirect_uri(server: Server) -> None:
    """RFC 7591 section 2: response types and scopes that it cannot use are dropped."""
    document = {
        "grant_types": ["client_credentials", "refresh_token", "authorization_code"],
        "response_types": ["token"],
        "scope": "openid invoices:read",
    }
    client = registered(server, document=document)
    assert (client["grant_types"], client["response_types"]) == (["client_credentials"], [])
    assert (client["scope"], client["redirect_uris"]) == ("invoices:read", [])
    mine = basic(client["client_id"], client["client_secret"])
    token = (ask(server, mine).json or {})["access_token"]
    assert server.is_active(token)
    assert manage(server, client).json["grant_types"] == ["client_credentials"]
    assert manage(server, client, "DELETE").status_code == 204
    assert not server.is_active(token)
    every = registered(server, document={"grant_types": ["client_credentials"]})["scope"].split()
    assert {*every} == {"far:see", "invoices:pay", "invoices:read"}


def test_a_public_client_cannot_register_for_it(server: Server) -> None:
    """RFC 6749 section 4.4, RFC 7591 section 3.2.1."""
    public = {"token_endpoint_auth_method": "none", "grant_types": ["client_credentials"]}
    answer = register(server, **public)
    assert (answer.status_code, answer.json["error"]) == (400, "invalid_client_metadata")
    both = public | {"grant_types": ["authorization_code", "client_credentials"]}
    assert registered(server, **both)["grant_types"] == ["authorization_code"]
    for wrong in (
        {"scope": "openid"},
        {"subject_type": "pairwise"},
        {"redirect_uris": ["http://evil.example/"]},
        {"token_endpoint_auth_method": "private_key_jwt"},
        {"token_endpoint_auth_method": "tls_client_auth"},
        {"jwks": KEYS, "jwks_uri": "https://rp.test/jwks"},
    ):
        answer = register(server, {"grant_types": ["client_credentials"], **wrong})
        assert answer.status_code == 400, wrong


def test_the_command_registers_a_service(server: Server) -> None:
    service = (
        "add-client",
        "service",
        "--name",
        "Service",
        "--scope",
        "invoices:read",
        "--grant",
        "client_credentials",
    )
    runner = server.app.test_cli_runner()
    assert runner.invoke(args=service).exit_code == 0
    with server.services.database.read() as session:
        client = session.get_one(Client, "service")
    assert (client.grant_types, client.response_types, client.redirect_uris) == (["client_credentials"], [], [])
    for wrong, message in (
        (("--auth-method", "none"), "this client may not use: client_credentials"),
        (("--scope", "openid"), "unknown scopes: openid"),
        (("--grant", "authorization_code"), "redirect URI is required"),
    ):
        done = runner.invoke(args=[*service, *wrong])
        assert (done.exit_code, message in done.output) == (1, True), done.output


def test_a_lifetime_that_grows_while_the_authorization_ends_gives_no_token_of_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The revocation of the ended authorization is kept for a shorter time than such a token would be valid."""
    ask(server)
    [first] = authorizations(server)
    genuine = client_credentials._has_token_lifetime

    def ended_before(authorization: Authorization, resource: Resource) -> bool:
        server.services.revocations.end("test", Authorization.id == first.id)
        return genuine(authorization, resource)

    monkeypatch.setattr(client_credentials, "_has_token_lifetime", ended_before)
    longer = another_process(server, access_token_lifetime=(first.token_lifetime or 0) * 2)
    assert longer.is_active(access_token(longer))
    assert [row.token_lifetime for row in authorizations(server)] == [
        first.token_lifetime,
        longer.services.settings.access_token_lifetime,
    ]
