"""Claims that no specification defines, such as groups: by scope, into every token and response about the person."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from rolecall_auth.jose import access_tokens
from rolecall_auth.models.claim_scope import ClaimScope
from rolecall_auth.models.client import Client
from rolecall_auth.models.resource import Resource
from rolecall_auth.models.user import User
from rolecall_auth.openid.custom_claims import MAX_BYTES, RESERVED
from support.auth_server import Server, claims, with_scope
from support.grants import SERVICE, a_service
from support.openid import ALICE, ASKED, CALLBACK, RP, relying_party, tokens
from support.registration import registered

pytestmark = pytest.mark.database

GROUPS = ["readers", "croquet"]
SCOPE = "openid groups invoices:read"


@pytest.fixture
def op(server: Server) -> Server:
    """The scope groups, Alice with every claim, and a client that is registered for all of it."""
    server.add(
        ClaimScope(scope="groups", description="see your groups", claims=["groups", "level"]),
        relying_party(scope="openid profile email offline_access groups invoices:read"),
    )
    set_claims(server, **ALICE, groups=GROUPS)
    return server


def set_claims(server: Server, **values: Any) -> None:
    with server.services.database.transaction() as session:
        session.get_one(User, server.ids["alice"]).claims = values


def change_client(server: Server, **values: Any) -> None:
    with server.services.database.transaction() as session:
        for name, value in values.items():
            setattr(session.get_one(Client, "rp"), name, value)
    server.services.registry.forget("rp")


def userinfo(server: Server, token: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token}"}
    return dict(server.app.test_client().get("/userinfo", headers=headers).json or {})


def everywhere(server: Server, body: dict[str, Any], name: str) -> list[Any]:
    """Return the claim in the ID token, the access token, the UserInfo response, and the introspection response."""
    token = body["access_token"]
    places = (claims(body["id_token"]), claims(token), userinfo(server, token), server.introspect(token))
    return [place.get(name) for place in places]


def test_a_scope_releases_its_claims_everywhere(op: Server) -> None:
    """RFC 9068 section 2.2.3, RFC 7662 section 2.2, OpenID Connect Core section 5.1.2."""
    body = tokens(op, scope=SCOPE)
    assert everywhere(op, body, "groups") == [GROUPS] * 4
    assert everywhere(op, body, "level") == [None] * 4, "a claim that the person does not have"
    assert everywhere(op, body, "email") == [None] * 4
    assert body["scope"] == "groups invoices:read openid"
    assert everywhere(op, tokens(op, scope="openid invoices:read"), "groups") == [None] * 4


def test_a_later_change_of_the_claims_counts_from_the_next_token_on(op: Server) -> None:
    body = tokens(op, scope=f"{SCOPE} offline_access", prompt="consent")
    set_claims(op, groups=["writers"], level=5)
    assert everywhere(op, body, "groups") == [GROUPS, GROUPS, ["writers"], ["writers"]]
    again = dict(op.refresh(body["refresh_token"], RP).json or {})
    assert everywhere(op, again, "groups") == [["writers"]] * 4
    assert everywhere(op, again, "level") == [5] * 4
    narrow = dict(op.refresh(again["refresh_token"], RP, scope="openid invoices:read").json or {})
    assert everywhere(op, narrow, "groups") == [None] * 4


def test_a_registration_that_lost_the_scope_releases_nothing(op: Server) -> None:
    body = tokens(op, scope=f"{SCOPE} offline_access", prompt="consent")
    change_client(op, scope="openid offline_access invoices:read")
    again = dict(op.refresh(body["refresh_token"], RP).json or {})
    assert everywhere(op, again, "groups") == [None] * 4
    assert "groups" not in op.introspect(body["access_token"])


def test_what_was_approved_is_what_is_released(op: Server) -> None:
    """A claim that is added to the scope later needs a new consent (RFC 6749 section 4.1.1)."""
    browser = op.browser()
    browser.sign_in()
    asked = ASKED | {"scope": f"{SCOPE} offline_access", "prompt": "consent"}
    code = browser.authorize(**asked)["code"]
    body = dict(op.redeem(code, RP, redirect_uri=CALLBACK).json or {})
    silent = {name: value for name, value in asked.items() if name != "prompt"}
    assert "/consent" not in browser.request(**silent).location
    set_claims(op, groups=GROUPS, salary=5)
    with op.services.database.transaction() as session:
        session.get_one(ClaimScope, "groups").claims = ["groups", "salary"]
    op.forget_scopes()
    again = dict(op.refresh(body["refresh_token"], RP).json or {})
    for response in (body, again):
        assert everywhere(op, response, "salary") == [None] * 4
        assert userinfo(op, response["access_token"])["groups"] == GROUPS
    assert "/consent" in browser.request(**silent).location
    code = browser.authorize(**asked)["code"]
    body = dict(op.redeem(code, RP, redirect_uri=CALLBACK).json or {})
    assert everywhere(op, body, "salary") == [5] * 4
    assert "see your groups" in browser.client.get("/apps").text


def test_the_person_reads_what_the_scope_allows(op: Server) -> None:
    browser = op.browser()
    browser.sign_in()
    response = browser.request(**ASKED | {"scope": SCOPE})
    assert "see your groups" in browser.client.get(response.location).text
    single = browser.request(**ASKED | {"claims": '{"id_token": {"groups": null}}'})
    assert "see your groups" in browser.client.get(single.location).text


def test_a_single_claim_can_be_requested(op: Server) -> None:
    """OpenID Connect Core section 5.5: it is released there, and nowhere else."""
    body = tokens(op, scope="openid invoices:read", claims='{"userinfo": {"groups": null}}')
    assert everywhere(op, body, "groups") == [None, None, GROUPS, None]


def test_without_openid_it_is_the_scope_of_a_resource_or_none(op: Server) -> None:
    """Like `profile`; a resource that defines the scope gets the claim as well."""
    with_scope(op, "invoices:read groups")
    assert op.browser().request(scope="groups invoices:read").location.count("error=invalid_scope") == 1
    with op.services.database.transaction() as session:
        resource = session.scalars(sa.select(Resource)).one()
        resource.scopes = {**resource.scopes, "groups": "manage your groups"}
    op.forget_scopes()
    browser = op.browser()
    browser.sign_in()
    page = browser.client.get(browser.request(scope="groups invoices:read").location).text
    assert "manage your groups" in page
    assert "see your groups" in page
    body = op.tokens(scope="groups invoices:read")
    assert claims(body["access_token"])["groups"] == op.introspect(body["access_token"])["groups"] == GROUPS
    assert "id_token" not in body


def test_clients_with_pairwise_subjects_may_have_them(op: Server) -> None:
    """OpenID Connect Core section 8.1: they are scopes about the person, and hide the public subject."""
    change_client(op, subject_type="pairwise", scope="openid groups offline_access")
    body = tokens(op, scope="openid groups")
    assert claims(body["access_token"])["groups"] == userinfo(op, body["access_token"])["groups"] == GROUPS
    assert claims(body["access_token"])["sub"].startswith("pws_")
    assert "groups" in registered(op, subject_type="pairwise")["scope"].split()


def test_the_metadata_and_the_registration_know_the_scope(op: Server) -> None:
    """RFC 8414 section 2, OpenID Connect Discovery section 3, RFC 7591 section 2."""
    document = op.app.test_client().get("/.well-known/openid-configuration").json or {}
    assert "groups" in document["scopes_supported"]
    assert {"groups", "level", "email"} <= {*document["claims_supported"]}
    assert len({*document["claims_supported"]}) == len(document["claims_supported"])
    assert registered(op, scope="openid groups unknown")["scope"] == "openid groups"


def test_a_request_without_a_scope_does_not_include_it(op: Server) -> None:
    """RFC 6749 section 3.3: the default of a client that signs people in has no scopes about them."""
    assert tokens(op, scope="-")["scope"] == "invoices:read"


def test_a_client_without_a_person_has_none(op: Server) -> None:
    """RFC 6749 section 4.4: not by default, and not if it requests the scope."""
    op.add(a_service(scope="invoices:read groups"))
    body = dict(op.post("/token", SERVICE, grant_type="client_credentials").json or {})
    assert body["scope"] == "invoices:read"
    refused = op.post("/token", SERVICE, grant_type="client_credentials", scope="groups")
    assert refused.json["error"] == "invalid_scope"
    metadata = {"grant_types": ["client_credentials"], "response_types": [], "redirect_uris": []}
    assert "groups" not in registered(op, **metadata)["scope"].split()


def test_a_client_can_have_the_standard_claims_in_its_id_tokens(op: Server) -> None:
    """OpenID Connect Core section 5.4: off by default; only the claims of the granted scope, also after a refresh."""
    scope = "openid email offline_access invoices:read"
    body = tokens(op, scope=scope, prompt="consent")
    assert "email" not in claims(body["id_token"])
    change_client(op, claims_in_id_token=True)
    again = dict(op.refresh(body["refresh_token"], RP).json or {})
    for response in (tokens(op, scope=scope), again):
        found = claims(response["id_token"])
        assert (found["email"], found["email_verified"]) == (ALICE["email"], True)
        assert "name" not in found
        assert "email" not in claims(response["access_token"])
    narrow = dict(op.refresh(again["refresh_token"], RP, scope="openid").json or {})
    assert "email" not in claims(narrow["id_token"])


def test_no_claim_of_a_person_replaces_one_of_the_protocol(op: Server) -> None:
    """RFC 9068 section 2.2.2: not even if a row in the database has such a claim."""
    with op.services.database.transaction() as session:
        session.get_one(ClaimScope, "groups").claims = sorted(RESERVED)
    set_claims(op, **dict.fromkeys(RESERVED, "forged"))
    op.forget_scopes()
    body = tokens(op, scope=SCOPE)
    token = body["access_token"]
    required = {*access_tokens.CLAIMS, "auth_time"}
    assert {name for name in required if claims(token)[name] == "forged"} == set()
    required = {"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "at_hash", "azp", "amr", "sid"}
    assert {name for name in required if claims(body["id_token"])[name] == "forged"} == set()
    introspected = op.introspect(token)
    required = {"active", "iss", "sub", "aud", "client_id", "scope", "iat", "exp", "jti", "token_type"}
    assert {name for name in required if introspected[name] == "forged"} == set()
    assert userinfo(op, token)["sub"] == op.ids["alice"]


def test_the_longest_claims_fit_into_a_token(op: Server) -> None:
    """With the longest scope and identifier of a resource that can be registered."""
    scopes = {f"{number:03}{'s' * 94}": "x" for number in range(10)}
    identifier = "https://api.example/" + "p" * 480
    values = {"identifier": identifier, "scopes": scopes, "access_token_signing_alg": "RS256"}
    op.add(Resource(resource_id="long", name="Long", secret_hash="x", **values))
    scope = " ".join(["openid", "groups", *scopes])
    change_client(op, scope=scope)
    set_claims(op, groups="x" * (MAX_BYTES - len('{"groups":""}')))
    token = tokens(op, scope=scope)["access_token"]
    assert len(token) <= access_tokens.MAX_LENGTH
    assert userinfo(op, token)["groups"].startswith("xxx")
