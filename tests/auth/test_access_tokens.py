"""The access tokens of a resource: their algorithm, lifetime, and type (RFC 9068 section 2.1)."""

from __future__ import annotations

from typing import Any

import jwt
import pytest
import sqlalchemy as sa

from rolecall import clock
from rolecall.vocabulary import SIGNING_ALGORITHMS
from rolecall_auth.jose import access_tokens
from rolecall_auth.models.authorization import Authorization
from rolecall_auth.models.resource import Resource
from rolecall_auth.sweep import sweep
from support.auth_server import ISSUER, RESOURCE, TALLY, Server, claims
from support.grants import SERVICE, a_service
from support.openid import CALLBACK, RP, relying_party, tokens

pytestmark = pytest.mark.database

DAY = 86400


def change(server: Server, **values: Any) -> None:
    """Change the access tokens of the Invoices API."""
    with server.services.database.transaction() as session:
        session.execute(sa.update(Resource).values(**values))
    server.forget_scopes()


def published(server: Server) -> dict[str, jwt.PyJWK]:
    document = server.app.test_client().get("/jwks").json or {}
    return {key["kid"]: jwt.PyJWK(key) for key in document["keys"]}


def userinfo_status(server: Server, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return server.app.test_client().get("/userinfo", headers=headers).status_code


@pytest.mark.parametrize("algorithm", SIGNING_ALGORITHMS)
def test_a_resource_chooses_the_algorithm(server: Server, algorithm: str) -> None:
    """RFC 9068 sections 2.1 and 4: the key set has the key, and both endpoints of the issuer accept the token."""
    change(server, access_token_signing_alg=algorithm)
    server.add(relying_party())
    token = tokens(server, scope="openid invoices:read")["access_token"]
    header = jwt.get_unverified_header(token)
    assert (header["alg"], header["typ"]) == (algorithm, "at+jwt")
    decoded = jwt.decode(token, published(server)[header["kid"]], algorithms=[algorithm], audience=RESOURCE)
    assert decoded["client_id"] == "rp"
    assert server.is_active(token)
    assert userinfo_status(server, token) == 200
    server.post("/revoke", RP, token=token)
    assert not server.is_active(token)
    only_openid = tokens(server, scope="openid")["access_token"]
    assert jwt.get_unverified_header(only_openid)["alg"] == "ES256"


def test_a_resource_chooses_the_lifetime(server: Server) -> None:
    """RFC 6749 section 5.1: `expires_in` is that lifetime, also after a refresh."""
    change(server, access_token_lifetime=3600)
    given = server.tokens()
    again = dict(server.refresh(given["refresh_token"]).json or {})
    for body in (given, again):
        found = claims(body["access_token"])
        assert body["expires_in"] == found["exp"] - found["iat"] == 3600
    clock.set_offset(3500)
    assert server.is_active(again["access_token"])
    change(server, access_token_lifetime=60)
    short = dict(server.refresh(again["refresh_token"]).json or {})
    assert short["expires_in"] == 60
    with server.services.database.read() as session:
        assert session.scalar(sa.select(Authorization.token_lifetime)) == 3600, "an older token lives longer"


def test_a_client_gets_such_tokens_for_itself(server: Server) -> None:
    server.add(a_service())

    def ask() -> dict[str, Any]:
        return dict(server.post("/token", SERVICE, grant_type="client_credentials").json or {})

    ask()
    change(server, access_token_lifetime=3600, access_token_signing_alg="RS256", access_token_typ="JWT")
    body = ask()
    header = jwt.get_unverified_header(body["access_token"])
    assert (body["expires_in"], header["alg"], header["typ"]) == (3600, "RS256", "JWT")
    assert server.is_active(body["access_token"])
    with server.services.database.read() as session:
        assert session.scalar(sa.select(Authorization.token_lifetime)) == 3600


@pytest.mark.parametrize("rotated_first", [False, True])
def test_keys_verify_as_long_as_the_longest_token(server: Server, rotated_first: bool) -> None:
    """RFC 7517 section 5: also if a process read the keys just before the resource got the longer lifetime."""
    runner = server.app.test_cli_runner()
    server.tokens()
    if rotated_first:
        assert runner.invoke(args=["keys", "rotate"]).exit_code == 0
    change(server, access_token_lifetime=3600)
    body = server.tokens()
    assert body["expires_in"] == 3600
    if not rotated_first:
        assert runner.invoke(args=["keys", "rotate"]).exit_code == 0
    kid = jwt.get_unverified_header(body["access_token"])["kid"]
    change(server, access_token_lifetime=None)
    for offset, is_published in ((301 + 300 + 61, True), (300 + 3600, True), (302 + 3600 + 61, False)):
        clock.set_offset(offset)
        assert (kid in published(server)) is is_published


def test_a_token_never_outlives_its_key(server: Server) -> None:
    """A process that still uses the longer lifetime of a resource only signs tokens that the key can verify."""
    server.services.registry.resources()[0].access_token_lifetime = 3600
    body = server.tokens()
    found = claims(body["access_token"])
    assert body["expires_in"] == found["exp"] - found["iat"] == 300


def test_a_revocation_lasts_as_long_as_the_longest_token(server: Server) -> None:
    """RFC 7009 section 2: in Redis, and in SQL, from which the set in Redis is rebuilt."""
    change(server, access_token_lifetime=DAY)
    body = server.tokens()
    server.post("/revoke", TALLY, token=body["refresh_token"])
    client = server.services.store.client
    [key] = server.redis_keys("revoked:*")
    assert client.ttl(key) >= DAY - 5
    clock.set_offset(DAY - 60)
    sweep(server.services)
    client.flushall()
    assert not server.is_active(body["access_token"])
    assert server.redis_keys("revoked:*") == [key]


def test_the_sweep_keeps_the_row_behind_a_long_token(server: Server) -> None:
    change(server, access_token_lifetime=DAY)
    body = server.tokens()
    server.post("/revoke", TALLY, token=body["refresh_token"])
    clock.set_offset(2 * DAY - 60)
    assert sweep(server.services)["authorization_grant"] == 0
    clock.set_offset(2 * DAY + 60)
    assert sweep(server.services)["authorization_grant"] == 1


def test_a_resource_chooses_the_type_jwt(server: Server) -> None:
    """Outside RFC 9068, for software that rejects `at+jwt`; an older token keeps its type and stays valid."""
    server.add(relying_party())
    older = tokens(server, scope="openid invoices:read")["access_token"]
    change(server, access_token_typ="JWT")
    token = tokens(server, scope="openid invoices:read")["access_token"]
    assert jwt.get_unverified_header(token)["typ"] == "JWT"
    assert server.is_active(token)
    assert server.is_active(older)
    assert userinfo_status(server, token) == 200
    server.post("/revoke", RP, token=token)
    assert not server.is_active(token)
    assert userinfo_status(server, token) == 401


def test_the_type_jwt_is_only_accepted_for_a_resource_that_chose_it(server: Server) -> None:
    change(server, access_token_typ="JWT")
    token = server.tokens()["access_token"]
    assert server.is_active(token)
    change(server, access_token_typ="at+jwt")
    assert not server.is_active(token)


def test_an_id_token_is_never_an_access_token(server: Server) -> None:
    """RFC 8725 section 3.12: although both have the type JWT then, also if the client's ID is that of the resource."""
    change(server, access_token_typ="JWT")
    named = relying_party(
        client_id=RESOURCE,
        token_endpoint_auth_method="none",
        secret_hash=None,
        userinfo_signed_response_alg="RS256",
    )
    server.add(named)
    code = server.code(client_id=RESOURCE, redirect_uri=CALLBACK, scope="openid invoices:read")
    body = dict(server.redeem(code, {}, client_id=RESOURCE, redirect_uri=CALLBACK).json or {})
    headers = {"Authorization": f"Bearer {body['access_token']}"}
    signed = server.app.test_client().get("/userinfo", headers=headers).text
    assert claims(body["id_token"])["aud"] == claims(signed)["aud"] == RESOURCE
    for token in (body["id_token"], signed):
        assert not server.is_active(token)
        assert userinfo_status(server, token) == 401
    assert server.is_active(body["access_token"])


@pytest.mark.parametrize("missing", access_tokens.CLAIMS)
def test_a_jwt_without_a_claim_of_access_tokens_is_none(server: Server, missing: str) -> None:
    """RFC 9068 section 2.2."""
    change(server, access_token_typ="JWT")
    token = server.tokens()["access_token"]
    found = claims(token)
    del found[missing]
    key = server.services.keys.signing("ES256")
    assert found.get("iss", ISSUER) == ISSUER
    assert not server.is_active(key.sign(found, typ="JWT"))
    assert not server.is_active(key.sign(claims(token), typ="logout+jwt"))
    assert server.is_active(key.sign(claims(token), typ="JWT"))


def test_a_verified_token_is_valid_until_it_expires(server: Server) -> None:
    token = server.tokens()["access_token"]
    assert server.is_active(token)
    expires_at = claims(token)["exp"]
    clock.set_offset(expires_at - clock.now() + 1)
    assert not server.is_active(token)
    clock.set_offset(0)
    assert server.is_active(token)


def test_a_verified_token_is_valid_until_its_key_is_retired(server: Server) -> None:
    token = server.tokens()["access_token"]
    assert server.is_active(token)
    server.services.keys.retire(jwt.get_unverified_header(token)["kid"])
    assert not server.is_active(token)


def test_a_verified_token_is_valid_until_it_is_revoked(server: Server) -> None:
    token = server.tokens()["access_token"]
    assert server.is_active(token)
    server.post("/revoke", TALLY, token=token)
    assert not server.is_active(token)


def test_an_altered_token_is_verified_again(server: Server) -> None:
    token = server.tokens()["access_token"]
    assert server.is_active(token)
    assert not server.is_active(token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB"))


def test_the_number_of_verified_tokens_is_limited(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_tokens, "MAX_VERIFIED", 2)
    given = [server.tokens()["access_token"] for _ in range(3)]
    assert all(server.is_active(token) for token in given)
    assert len(server.services.access_tokens._verified) == 2
    assert all(server.is_active(token) for token in given)
