"""OpenID Connect Core: ID tokens, userinfo, and the claims about each person."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import jwt
import pytest
import sqlalchemy as sa
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from authlib.oidc.discovery import OpenIDProviderMetadata

from rolecall import clock
from rolecall.vocabulary import ID_TOKEN_ALGORITHMS, PROFILES
from rolecall_auth.models.authorization import Authorization
from rolecall_auth.models.client import Client
from rolecall_auth.models.session import ACR
from rolecall_auth.models.subject import sector_of
from rolecall_auth.models.user import User
from support.auth_server import ISSUER, RESOURCE, Server, basic, make_server, make_settings
from support.openid import ALICE, ASKED, CALLBACK, RP, SCOPE, SECRET, relying_party, tokens, verified, with_claims

PROFILE = {
    "name", "family_name", "given_name", "middle_name", "nickname", "preferred_username", "profile", "picture",
    "website", "gender", "birthdate", "zoneinfo", "locale", "updated_at",
}  # fmt: skip


@pytest.fixture
def op(server: Server) -> Server:
    with_claims(server)
    server.add(relying_party())
    return server


def userinfo(server: Server, token: str, method: str = "GET", **form: str) -> Any:
    headers = {} if form else {"Authorization": f"Bearer {token}"}
    return server.app.test_client().open("/userinfo", method=method, headers=headers, data=form or None)


def test_an_id_token_says_who_signed_in_when_and_for_whom(op: Server) -> None:
    """OpenID Connect Core sections 2 and 3.1.3.7: no profile claims, unless they were requested.

    With `at_hash`: OpenID Connect Core sections 3.1.3.3 and 3.1.3.6.
    """
    began = int(clock.now())
    given = tokens(op, scope="openid profile email")
    found = verified(op, given["id_token"])
    assert found.keys() == {"iss", "sub", "aud", "azp", "exp", "iat", "auth_time", "nonce", "amr", "at_hash", "sid"}
    assert (found["iss"], found["sub"], found["aud"], found["azp"]) == (ISSUER, op.ids["alice"], "rp", "rp")
    assert (found["nonce"], found["amr"]) == ("n0nce", ["pwd"])
    assert began <= found["auth_time"] <= found["iat"] < found["exp"] <= found["iat"] + 300
    half = hashlib.sha256(given["access_token"].encode()).digest()[:16]
    assert found["at_hash"] == base64.urlsafe_b64encode(half).rstrip(b"=").decode()
    header = jwt.get_unverified_header(given["id_token"])
    assert (header["alg"], header["typ"]) == ("RS256", "JWT")


@pytest.mark.parametrize("algorithm", ID_TOKEN_ALGORITHMS)
def test_the_registered_algorithm_signs(algorithm: str, op: Server) -> None:
    """OpenID Connect Registration section 2."""
    changes = {"id_token_signed_response_alg": algorithm, "userinfo_signed_response_alg": algorithm}
    op.add(relying_party(client_id=algorithm, **changes))
    given = tokens(op, basic(algorithm, SECRET), client_id=algorithm)
    assert jwt.get_unverified_header(given["id_token"])["alg"] == algorithm
    assert verified(op, given["id_token"], algorithm)["aud"] == algorithm
    answer = userinfo(op, given["access_token"])
    assert answer.mimetype == "application/jwt"
    signed = verified(op, answer.text, algorithm)
    assert (signed["iss"], signed["aud"], signed["sub"]) == (ISSUER, algorithm, op.ids["alice"])


def test_without_openid_there_is_no_id_token_and_no_userinfo(op: Server) -> None:
    """OpenID Connect Core section 3.1.2.1."""
    given = tokens(op, scope="invoices:read")
    assert "id_token" not in given
    answer = userinfo(op, given["access_token"])
    assert answer.status_code == 403
    assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]


def test_a_request_without_scope_is_no_authentication_request(op: Server) -> None:
    assert tokens(op, scope="-")["scope"] == "invoices:read"


@pytest.mark.parametrize(
    ("scope", "names"),
    [
        ("openid", set()),
        ("openid profile", PROFILE),
        ("openid email", {"email", "email_verified"}),
        ("openid address", {"address"}),
        ("openid phone", {"phone_number", "phone_number_verified"}),
        ("openid profile email address phone", set(ALICE)),
    ],
)
def test_scopes_stand_for_claims(scope: str, names: set[str], op: Server) -> None:
    """OpenID Connect Core sections 5.1, 5.3 and 5.4."""
    answer = userinfo(op, tokens(op, scope=scope)["access_token"])
    assert answer.json == {"sub": op.ids["alice"]} | {name: ALICE[name] for name in names}
    assert answer.headers["Cache-Control"] == "no-store"


def test_userinfo_by_get_by_post_with_header_and_by_post_with_body(op: Server) -> None:
    """OpenID Connect Core section 5.3.1; never in the address (RFC 9700 section 4.3.2).

    RFC 6750 sections 2.2 and 2.3.
    """
    token = tokens(op)["access_token"]
    answers = [userinfo(op, token), userinfo(op, token, "POST"), userinfo(op, "", "POST", access_token=token)]
    assert [answer.json for answer in answers] == [{"sub": op.ids["alice"]}] * 3
    browser = op.app.test_client()
    assert browser.get(f"/userinfo?access_token={token}").status_code == 401
    both = browser.post("/userinfo", data={"access_token": token}, headers={"Authorization": f"Bearer {token}"})
    assert (both.status_code, both.json["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Bearer a b", "Bearer " + "x" * 9000, "Bearer é"])
def test_userinfo_refuses_what_is_no_token(header: str, op: Server) -> None:
    """RFC 6750 section 3.1: a malformed token is an `invalid_token`, a header without a token an `invalid_request`."""
    answer = op.app.test_client().get("/userinfo", headers={"Authorization": header})
    expected = (401, "invalid_token") if header.strip() != "Bearer" else (400, "invalid_request")
    assert (answer.status_code, answer.json["error"]) == expected
    assert f'error="{expected[1]}"' in answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize("headers", [{}, *({"Authorization": value} for value in ("", " ", "Basic eDp5", "DPoP x"))])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_userinfo_without_a_token_gets_no_error_code(method: str, headers: dict[str, str], op: Server) -> None:
    """RFC 6750 section 3.1: another authentication scheme is not a malformed token."""
    answer = op.app.test_client().open("/userinfo", method=method, headers=headers)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="userinfo"')


@pytest.mark.parametrize("value", ["Bearer {0},Bearer {0}", "Basic eDp5, Bearer {0}", "Unknown x,Bearer {0}"])
def test_userinfo_rejects_repeated_credentials(value: str, op: Server) -> None:
    """RFC 6750 section 3.1; a server joins repeated headers with commas."""
    header = {"Authorization": value.format(tokens(op)["access_token"])}
    answer = op.app.test_client().get("/userinfo", headers=header)
    assert (answer.status_code, answer.json["error"]) == (400, "invalid_request")


def test_userinfo_reads_tokens_only_from_urlencoded_bodies(op: Server) -> None:
    """RFC 6750 section 2.2; a malformed one is `invalid_token` (section 3.1)."""
    token, browser = tokens(op)["access_token"], op.app.test_client()
    parts = browser.post("/userinfo", data={"access_token": token}, content_type="multipart/form-data")
    assert (parts.status_code, parts.json["error"]) == (400, "invalid_request")
    for bad in ("é", "x" * 16001):
        answer = browser.post("/userinfo", data={"access_token": bad})
        assert (answer.status_code, answer.json["error"]) == (401, "invalid_token")


def test_an_id_token_is_no_access_token_and_an_api_token_not_for_userinfo(op: Server) -> None:
    """RFC 9068 section 4."""
    given = tokens(op)
    assert userinfo(op, given["id_token"]).status_code == 401
    assert op.introspect(given["id_token"]) == {"active": False}


def test_a_token_for_an_api_is_for_userinfo_as_well_with_openid(op: Server) -> None:
    given = tokens(op, scope="openid invoices:read")
    found = op.introspect(given["access_token"])
    assert found["aud"] == [RESOURCE, ISSUER]
    assert userinfo(op, given["access_token"]).status_code == 200
    assert op.introspect(tokens(op)["access_token"]) == {"active": False}, "the API is not an audience"


def test_an_api_reads_the_owners_claims_only_with_a_token_that_has_openid(op: Server) -> None:
    """RFC 9068 section 3: each audience of a token can use it at the other audiences."""
    with_openid = tokens(op, scope="openid email invoices:read")["access_token"]
    assert op.introspect(with_openid)["aud"] == [RESOURCE, ISSUER]
    assert userinfo(op, with_openid).json["email"] == ALICE["email"]
    without = tokens(op, scope="invoices:read")["access_token"]
    family = tokens(op, scope="openid email offline_access invoices:read", prompt="consent")["refresh_token"]
    narrowed = op.refresh(family, RP, scope="invoices:read").json["access_token"]
    for token in (without, narrowed):
        assert op.introspect(token)["aud"] == RESOURCE
        assert userinfo(op, token).status_code == 403


def test_a_dead_token_is_refused_at_userinfo(op: Server) -> None:
    given = tokens(op)
    op.post("/revoke", RP, token=given["access_token"])
    assert userinfo(op, given["access_token"]).json["error"] == "invalid_token"
    late = tokens(op)["access_token"]
    clock.set_offset(301)
    assert userinfo(op, late).status_code == 401


def test_a_reused_code_at_once_and_later_ends_what_it_gave(op: Server) -> None:
    """RFC 6749 section 4.1.2."""
    for later in (0, 30):
        code = op.code(client_id="rp", redirect_uri=CALLBACK, scope="openid")
        given = dict(op.redeem(code, RP, redirect_uri=CALLBACK).json or {})
        clock.set_offset(clock.offset() + later)
        again = op.redeem(code, RP, redirect_uri=CALLBACK)
        assert (again.status_code, again.json["error"]) == (400, "invalid_grant")
        assert userinfo(op, given["access_token"]).status_code == 401


def test_offline_access_with_consent_gives_a_refresh_token(op: Server) -> None:
    """OpenID Connect Core sections 11, 12.1 and 12.2: the new ID token is of the same sign-in."""
    assert "refresh_token" not in tokens(op, scope="openid")
    given = tokens(op, scope="openid offline_access")
    assert given["scope"] == "offline_access openid"
    first = verified(op, given["id_token"])
    clock.set_offset(100)
    again = dict(op.refresh(given["refresh_token"], RP).json or {})
    second = verified(op, again["id_token"])
    for same in ("iss", "sub", "aud", "auth_time", "azp", "sid"):
        assert second[same] == first[same]
    assert second["iat"] >= first["iat"] + 100
    assert "nonce" not in second
    assert op.refresh(again["refresh_token"]).json["error"] == "invalid_grant", "it is bound to its client"


def test_single_claims_for_userinfo_and_for_the_id_token(op: Server) -> None:
    """OpenID Connect Core section 5.5: essential or not, unknown ones are ignored."""
    asked = {
        "userinfo": {"email": {"essential": True}, "no_such_claim": None, "password_hash": None, "name": None},
        "id_token": {"given_name": {"essential": True}, "auth_time": {"essential": True}, "unknown": {"value": 5}},
        "elsewhere": {"x": None},
    }
    given = tokens(op, claims=json.dumps(asked))
    assert userinfo(op, given["access_token"]).json == {
        "sub": op.ids["alice"],
        "email": ALICE["email"],
        "name": ALICE["name"],
    }
    with op.services.database.read() as session:
        [kept] = session.scalars(sa.select(Authorization.requested_claims))
    assert kept == {"userinfo": ["email", "name"], "id_token": ["given_name"]}, "unknown claims are not stored"
    found = verified(op, given["id_token"])
    assert found["given_name"] == "Alice"
    assert "email" not in found
    assert "unknown" not in found


def test_single_claims_are_asked_about_on_the_consent_page(op: Server) -> None:
    """A client that requests the address as a single claim does not get it without the person's consent."""
    browser = op.browser()
    browser.sign_in()
    asked: dict[str, str] = {"client_id": "rp", "redirect_uri": CALLBACK, "scope": "openid", "nonce": "n"}
    browser.authorize(**asked)
    assert "/consent" not in browser.request(**asked).location
    response = browser.request(**asked, claims='{"userinfo": {"address": null}}')
    assert "/consent" in response.location
    assert "see your postal address" in browser.client.get(response.location).text


def test_a_client_without_the_scope_gets_none_of_its_claims(op: Server) -> None:
    op.add(relying_party(client_id="narrow", scope="openid"))
    given = tokens(op, basic("narrow", SECRET), client_id="narrow", claims='{"userinfo": {"email": null}}')
    assert userinfo(op, given["access_token"]).json == {"sub": op.ids["alice"]}


@pytest.mark.parametrize(
    "claims",
    [
        *("[]", "5", "null", '"x"', "{", '{"userinfo": []}', '{"id_token": {"name": 5}}', '{"userinfo":{"a":[]}}'),
        *('{"id_token": {"sub": {"value": 5}}}', '{"id_token": {"acr": {"essential": true, "values": [5]}}}'),
        *('{"id_token": {"acr": {"essential": true, "values": "x"}}}', '{"id_token": {"acr": {"value": {}}}}'),
        "[" * 3000,
        json.dumps({"userinfo": {f"c{number}": None for number in range(51)}}),
    ],
)
def test_a_malformed_claims_parameter_is_refused(claims: str, op: Server) -> None:
    """OpenID Connect Core sections 5.5 and 5.5.1: an invalid `sub` or `acr` is never ignored."""
    browser = op.browser()
    browser.sign_in()
    answer = browser.authorize(client_id="rp", redirect_uri=CALLBACK, scope="openid", claims=claims)
    assert answer["error"] == "invalid_request"


def test_acr_is_told_when_it_was_asked_for_and_met(op: Server) -> None:
    """OpenID Connect Core sections 3.1.2.1 and 5.5.1.1."""
    assert verified(op, tokens(op, acr_values=f"urn:other {ACR}")["id_token"])["acr"] == ACR
    assert "acr" not in verified(op, tokens(op, acr_values="urn:other")["id_token"])
    essential = {"id_token": {"acr": {"essential": True, "values": ["urn:gold"]}}}
    browser = op.browser()
    browser.sign_in()
    answer = browser.authorize(client_id="rp", redirect_uri=CALLBACK, scope="openid", claims=json.dumps(essential))
    assert answer["error"] == "unmet_authentication_requirements"


def test_a_scope_that_nobody_knows_is_ignored_beside_openid(op: Server) -> None:
    """OpenID Connect Core section 3.1.2.1; without openid it is refused (RFC 6749 section 3.3)."""
    assert tokens(op, scope="openid unheard-of")["scope"] == "openid"
    browser = op.browser()
    browser.sign_in()
    asked = {"client_id": "rp", "redirect_uri": CALLBACK}
    assert browser.authorize(**asked, scope="invoices:read unheard-of")["error"] == "invalid_scope"


def test_pairwise_subjects_are_one_a_sector(op: Server) -> None:
    """OpenID Connect Core section 8: userinfo, the ID token, and the access token have the same subject."""
    sector = "https://sector.test/uris.json"
    op.add(
        relying_party(client_id="one", subject_type="pairwise"),
        relying_party(client_id="two", subject_type="pairwise", sector_identifier_uri=sector),
        relying_party(client_id="three", subject_type="pairwise", sector_identifier_uri=sector),
    )
    subjects = []
    for name in ("one", "two", "three", "one"):
        given = tokens(op, basic(name, SECRET), client_id=name)
        subject = verified(op, given["id_token"], name)["sub"]
        assert userinfo(op, given["access_token"]).json["sub"] == subject
        assert jwt.decode(given["access_token"], options={"verify_signature": False})["sub"] == subject
        subjects.append(subject)
    one, two, three, again = subjects
    assert one == again != two == three
    assert op.ids["alice"] not in subjects


@pytest.mark.parametrize(
    ("uris", "sector"),
    [
        (["https://a.example/cb"], "a.example"),
        (["com.example.one:/cb"], "client one"),
        (["evil.app://victim.example/cb"], "client one"),
    ],
)
def test_what_is_no_host_is_no_sector(uris: list[str], sector: str) -> None:
    """OpenID Connect Core section 8.1: also for clients of earlier releases."""
    assert sector_of(relying_party(client_id="one", subject_type="pairwise", redirect_uris=uris)) == sector


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("scope", ["invoices:read", "profile", "openid invoices:read", "-"])
def test_no_api_tells_a_pairwise_client_who_the_person_is(profile: str, scope: str, op: Server) -> None:
    """OpenID Connect Core section 8.1: not even if an earlier release registered the client for the API."""
    op.add(relying_party(client_id="one", subject_type="pairwise", scope=f"{SCOPE} invoices:read", profile=profile))
    browser = op.browser()
    browser.sign_in()
    answer = browser.authorize(**ASKED | {"client_id": "one", "scope": scope})
    if (profile, scope) != ("openid", "openid invoices:read"):
        assert answer["error"] == "invalid_scope"
        return
    given = op.redeem(answer["code"], basic("one", SECRET), redirect_uri=CALLBACK).json
    assert given is not None
    assert given["scope"] == "openid", "the scope of the API is ignored like an unknown scope"


def test_an_authorization_keeps_its_subject_when_the_client_becomes_pairwise(op: Server) -> None:
    """OpenID Connect Core section 12.2: `sub` must not change; later authorizations get a pairwise one (section 8)."""
    op.add(relying_party(client_id="one", scope=f"{SCOPE} invoices:read"))
    asked = {"client_id": "one", "scope": "openid invoices:read offline_access", "prompt": "consent"}
    given = tokens(op, basic("one", SECRET), **asked)
    with op.services.database.transaction() as session:
        session.get_one(Client, "one").subject_type = "pairwise"
    op.services.registry.forget("one")
    again = op.refresh(given["refresh_token"], basic("one", SECRET)).json
    assert again is not None
    told = jwt.decode(again["access_token"], options={"verify_signature": False})
    assert told["sub"] == verified(op, again["id_token"], "one")["sub"] == op.ids["alice"]
    assert again["scope"] == "offline_access openid", "no more access to APIs"
    later = tokens(op, basic("one", SECRET), **asked | {"scope": "openid"})
    assert verified(op, later["id_token"], "one")["sub"].startswith("pws_")


def test_a_person_without_claims_has_a_name_to_be_called_by(op: Server) -> None:
    with op.services.database.transaction() as session:
        session.get_one(User, op.ids["alice"]).claims = {}
    given = tokens(op, scope="openid profile email")
    assert userinfo(op, given["access_token"]).json == {"sub": op.ids["alice"], "preferred_username": "alice"}


def test_discovery_is_valid_and_says_what_there_is(tmp_path: Path, redis_url: str) -> None:
    """OpenID Connect Discovery sections 3 and 4, RFC 8414 sections 2 and 3: Authlib's validator accepts it too."""
    server = make_server(make_settings(tmp_path, redis_url, issuer="https://op.example", lab=False))
    client = server.app.test_client()
    document = client.get("/.well-known/openid-configuration").json
    assert document == client.get("/.well-known/oauth-authorization-server").json
    assert document is not None
    OpenIDProviderMetadata(document).validate()
    AuthorizationServerMetadata(document).validate()
    assert {"openid", "profile", "email", "address", "phone", "offline_access"} <= {*document["scopes_supported"]}
    of_the_token = {"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "azp", "at_hash", "sid"}
    assert {*document["claims_supported"]} == {*ALICE} | of_the_token
    assert len(document["claims_supported"]) == len({*document["claims_supported"]})
    assert document["id_token_signing_alg_values_supported"] == [*ID_TOKEN_ALGORITHMS]
