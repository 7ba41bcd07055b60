"""private_key_jwt and client_secret_jwt (RFC 7523 section 3, OpenID Connect Core section 9), and clients' keys."""

from __future__ import annotations

import base64
import dataclasses
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography.fernet import Fernet, MultiFernet
from cryptography.hazmat.primitives import serialization
from joserfc.jwk import ECKey
from werkzeug.test import TestResponse

from rolecall import clock, events
from rolecall.limits import limit
from rolecall.vocabulary import CLIENT_ASSERTION_TYPE
from rolecall_auth import create_app
from rolecall_auth.clients.assertion import LEEWAY, MAX_AHEAD
from rolecall_auth.jose.signing_keys import Keys
from rolecall_auth.models.client import Client
from support.auth_server import (
    DATA_KEY,
    INVOICES,
    ISSUER,
    SECRET,
    TALLY,
    Server,
    a_client,
    make_server,
    make_settings,
    opened,
)
from support.signing import (
    KEYS,
    claims,
    hmac_signed,
    is_in,
    is_refused,
    jwk,
    jwks,
    now,
    present,
    sealer,
    segment,
    signed,
    signer,
)

BACK_CHANNEL = "http://auth-service:8001"


@pytest.fixture
def server(tmp_path: Any, redis_url: str) -> Server:
    server = make_server(make_settings(tmp_path, redis_url, backchannel_urls=(BACK_CHANNEL,)))
    server.add(signer(), signer("certified", profile="openid"), sealer(), sealer("sealed-openid", profile="openid"))
    return server


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_client_that_signs_is_let_in(server: Server, algorithm: str) -> None:
    """RFC 7523 section 2.2."""
    assert is_in(present(server, signed(claims(), algorithm)))
    assert is_in(present(server, signed(claims(), algorithm), client_id="signer"))
    assert is_refused(present(server, signed(claims(), algorithm)[:-9] + "AAAAAAAAA"))


def test_it_gets_tokens_and_can_revoke_them(server: Server) -> None:
    code = server.code(client_id="signer")
    form = {"client_assertion_type": CLIENT_ASSERTION_TYPE}
    given = server.redeem(code, {}, **form, client_assertion=signed(claims()))
    assert given.status_code == 200
    token = given.json["access_token"]
    assert present(server, signed(claims()), "/revoke", token=token).status_code == 200
    assert not server.is_active(token)


def test_a_secret_that_signs(server: Server) -> None:
    assert is_in(present(server, hmac_signed(claims("sealer"), SECRET)))
    assert is_refused(present(server, hmac_signed(claims("sealer"), SECRET + "x")))
    assert is_refused(present(server, signed(claims("sealer"))))
    for algorithm in ("HS384", "HS512"):
        assert is_refused(present(server, hmac_signed(claims("sealer"), SECRET, algorithm)))


def test_the_secret_that_signs_is_sealed_anew_with_the_keys(server: Server) -> None:
    new = Fernet(Fernet.generate_key())
    both = MultiFernet([new, *DATA_KEY._fernets])
    keys = Keys(server.services.database, both, jwks_max_age=300, token_lifetime=300)
    keys.reseal()
    with server.services.database.read() as session:
        sealed = session.get_one(Client, "sealer").secret_sealed
    assert sealed is not None
    assert new.decrypt(sealed) == SECRET.encode()


def test_a_lost_data_key_is_503_and_nobodys_fault(server: Server) -> None:
    server.add(sealer("lost", secret_sealed=Fernet(Fernet.generate_key()).encrypt(b"x" * 40)))
    assert present(server, hmac_signed(claims("lost"), "x" * 40)).status_code == 503


@pytest.mark.parametrize("path", ["/token", "/revoke"])
def test_both_endpoints_take_it(server: Server, path: str) -> None:
    for assertion in (signed(claims()), hmac_signed(claims("sealer"), SECRET)):
        assert not is_refused(present(server, assertion, path))
    assert is_refused(present(server, signed(claims(aud="https://other.test")), path))


def test_introspection_is_for_resources_and_takes_none(server: Server) -> None:
    assert is_refused(present(server, signed(claims()), "/introspect"))
    assert server.post("/introspect", INVOICES, token="x", client_assertion="x").status_code == 200


BAD_CLAIMS: dict[str, dict[str, Any]] = {
    "no iss": {"iss": None},
    "no sub": {"sub": None},
    "no aud": {"aud": None},
    "no exp": {"exp": None},
    "no jti": {"jti": None},
    "another iss": {"iss": "tally"},
    "another sub": {"sub": "tally"},
    "unknown": {"iss": "nobody", "sub": "nobody"},
    "sub of control characters": {"iss": "a\0b", "sub": "a\0b"},
    "long sub": {"iss": "x" * 101, "sub": "x" * 101},
    "another aud": {"aud": "https://other.test"},
    "aud with a slash": {"aud": ISSUER + "/"},
    "the token endpoint": {"aud": ISSUER + "/token"},
    "a list": {"aud": [ISSUER]},
    "a list with another": {"aud": [ISSUER, "https://other.test"]},
    "an empty list": {"aud": []},
    "expired": {"exp": 1},
    "negative": {"exp": -1},
    "empty jti": {"jti": ""},
    "long jti": {"jti": "x" * 201},
    "jti of surrogates": {"jti": "\ud800"},
    "numbers for strings: iss": {"iss": 5},
    "numbers for strings: sub": {"sub": 5},
    "numbers for strings: jti": {"jti": 5},
    "numbers for strings: aud": {"aud": 5},
    "numbers in aud": {"aud": [5]},
    "nested aud": {"aud": [[ISSUER]]},
    "object for a string": {"sub": {"sub": "signer"}},
    "list for a string": {"iss": ["signer"]},
    "strings for numbers: exp": {"exp": "9999999999"},
    "true for a number": {"exp": True},
    "list for a number": {"exp": [1]},
    "infinite": {"exp": 1e999},
    "very large": {"exp": 10**400},
    "iat is text": {"iat": "now"},
    "nbf is an object": {"nbf": {}},
}


@pytest.mark.parametrize("what", BAD_CLAIMS)
def test_bad_claims(server: Server, what: str) -> None:
    assert is_refused(present(server, signed(claims(**BAD_CLAIMS[what]))))


def test_times_have_an_end_and_a_little_leeway(server: Server) -> None:
    for good in (
        {"exp": now() + MAX_AHEAD},
        {"exp": now() + 60.5},
        {"iat": now() + LEEWAY - 5},
        {"nbf": now() + LEEWAY - 5},
        {"iat": None},
    ):
        assert is_in(present(server, signed(claims(**good)))), good
    for bad in (
        {"exp": now() + MAX_AHEAD + LEEWAY + 60},
        {"exp": now() + 10 * 365 * 86400},
        {"exp": now() - 1},
        {"iat": now() + LEEWAY + 60, "exp": now() + 300},
        {"nbf": now() + LEEWAY + 60, "exp": now() + 300},
    ):
        assert is_refused(present(server, signed(claims(**bad)))), bad
    late = signed(claims())
    clock.set_offset(61)
    assert is_refused(present(server, late))


AUDIENCES = (
    ISSUER + "/token",
    BACK_CHANNEL + "/token",
    [ISSUER],
    [ISSUER + "/token"],
    ["https://other.test", BACK_CHANNEL + "/token"],
)


def test_the_profile_openid_goes_by_openid_connect_core_9(server: Server) -> None:
    """OpenID Connect Core section 9."""
    for audience in (ISSUER, *AUDIENCES):
        assert is_in(present(server, signed(claims("certified", aud=audience)))), audience
        assert is_in(present(server, hmac_signed(claims("sealed-openid", aud=audience), SECRET))), audience
    for audience in ("https://other.test/token", BACK_CHANNEL, ISSUER + "/revoke", ISSUER + "/token/", [], ["x"]):
        assert is_refused(present(server, signed(claims("certified", aud=audience)))), audience


@pytest.mark.parametrize("profile", ["oauth2.1", "fapi2"])
def test_the_other_profiles_take_the_issuer_as_a_string_alone(server: Server, profile: str) -> None:
    """draft-ietf-oauth-rfc7523bis section 4: otherwise another audience of an assertion could use it here."""
    server.add(signer("strict", profile=profile))
    assert is_in(present(server, signed(claims("strict"))))
    for audience in AUDIENCES:
        assert is_refused(present(server, signed(claims("strict", aud=audience)))), audience


def test_an_assertion_is_used_once(server: Server) -> None:
    first, other = signed(claims(jti="once")), signed(claims("certified", jti="once"))
    assert is_in(present(server, first))
    assert is_refused(present(server, first))
    assert is_refused(present(server, signed(claims(jti="once"), "RS256"))), "only the jti decides"
    assert is_refused(present(server, first, "/revoke"))
    assert is_in(present(server, other)), "each client has its own"


def test_what_is_refused_uses_nothing_up(server: Server) -> None:
    """Otherwise anyone who knows a `jti` could invalidate it."""
    good = claims(jti="kept")
    assert is_refused(present(server, signed(good, key=ECKey.generate_key("P-256"))))
    assert is_refused(present(server, signed({**good, "aud": "https://other.test"})))
    assert is_in(present(server, signed(good)))


def test_a_replay_is_refused_as_long_as_the_assertion_is_good(server: Server) -> None:
    assertion = signed(claims(exp=now() + MAX_AHEAD))
    assert is_in(present(server, assertion))
    [key] = server.redis_keys("assertion:*")
    assert server.services.store.client.ttl(key) >= MAX_AHEAD - 5
    clock.set_offset(MAX_AHEAD - 10)
    assert is_refused(present(server, assertion))


def test_of_32_parallel_uses_one_passes(server: Server) -> None:
    server = again(server, client_limit=limit("1000/minute"))
    for _ in range(3):
        assertion, barrier = signed(claims()), threading.Barrier(32)

        def one(_: int, assertion: str = assertion, barrier: threading.Barrier = barrier) -> TestResponse:
            barrier.wait()
            return present(server, assertion)

        with ThreadPoolExecutor(32) as pool:
            answers = list(pool.map(one, range(32)))
        assert sum(map(is_in, answers)) == 1
        assert sum(map(is_refused, answers)) == 31


def again(server: Server, **changes: Any) -> Server:
    """Return a server with the same databases and other settings."""
    app = create_app(dataclasses.replace(server.services.settings, **changes))
    opened.append(app.extensions["rolecall_auth"])
    return Server(app, app.extensions["rolecall_auth"], server.ids)


def public_pem(algorithm: str) -> bytes:
    return KEYS[algorithm].public_key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def bad_jwts() -> dict[str, str]:
    good = claims()
    header, payload, signature = signed(good).split(".")
    evil = ECKey.generate_key("P-256")
    public = jwk("ES256")
    return {
        "none": segment(b'{"alg":"none"}') + f".{payload}.",
        "none with a signature": segment(b'{"alg":"none"}') + f".{payload}.{signature}",
        "None": segment(b'{"alg":"None"}') + f".{payload}.{signature}",
        "no alg": segment(b'{"kid":"ES256"}') + f".{payload}.{signature}",
        "alg is a number": segment(b'{"alg":5}') + f".{payload}.{signature}",
        "alg is a list": segment(b'{"alg":["ES256"]}') + f".{payload}.{signature}",
        "alg is null": segment(b'{"alg":null}') + f".{payload}.{signature}",
        "alg in quotes": segment(b'{"alg":"\\""}') + f".{payload}.{signature}",
        "another alg's name": segment(b'{"alg":"RS256","kid":"ES256"}') + f".{payload}.{signature}",
        "ES384": segment(b'{"alg":"ES384","kid":"ES256"}') + f".{payload}.{signature}",
        "no signature": f"{header}.{payload}.",
        "two parts": f"{header}.{payload}",
        "five parts": f"{header}.{payload}.{signature}.x.y",
        "padding": f"{header}=.{payload}.{signature}",
        "nothing": "..",
        "text": "not-a-jwt",
        "another key": signed(good, key=evil),
        "another kid": signed(good, kid="RS256"),
        "unknown kid": signed(good, kid="unknown"),
        "kid is a number": signed(good, kid=5),
        "kid in quotes": signed(good, kid='"'),
        "access token": signed(good, typ="at+jwt"),
        "request object": signed(good, typ="oauth-authz-req+jwt"),
        "typ is a number": signed(good, typ=5),
        "jku": signed(good, jku="https://evil.example/keys"),
        "x5u": signed(good, x5u="https://evil.example/keys"),
        "jwk": signed(good, key=evil, jwk=evil.as_dict(private=False)),
        "jwk of the client": signed(good, jwk=public),
        "x5c": signed(good, x5c=["MII"]),
        "crit": signed(good, crit=["exp"], exp=1),
        "b64": signed(good, b64=False, crit=["b64"]),
        "zip": signed(good, zip="DEF"),
        "HMAC with the public key in PEM": hmac_signed(good, public_pem("RS256"), kid="RS256"),
        "HMAC with the public key in PEM, stripped": hmac_signed(good, public_pem("RS256").strip(), kid="RS256"),
        "HMAC with the public key in JSON": hmac_signed(good, json.dumps(public), kid="ES256"),
        "HMAC with nothing": hmac_signed(good, ""),
        "nested": signed(good, cty="JWT", text=signed(good).encode()),
        "a JWT within": signed(good, text=json.dumps(signed(good)).encode()),
        "a list": signed([good]),
        "a number": signed(5),
        "null": signed(None),
        "no JSON": signed(good, text=b"iss=signer"),
        "no UTF-8": signed(good, text=b'{"iss":"\xff"}'),
        "NaN": signed(good, text=json.dumps(good).replace(str(good["exp"]), "NaN").encode()),
        "twice": signed(good, text=json.dumps(good).replace("{", '{"sub":"tally",', 1).encode()),
        "deep": signed(good, text=b"[" * 5000),
        "deep object": signed(good, text=b'{"a":' * 1000),
        "deep header": segment(b"[" * 5000) + f".{payload}.{signature}",
        "header is a list": segment(b'["alg"]') + f".{payload}.{signature}",
        "header is text": segment(b'"alg"') + f".{payload}.{signature}",
        "oversized": signed({**good, "more": "x" * 8192}),
        "many digits": signed(good, text=b'{"exp":' + b"9" * 5000 + b"}"),
    }


@pytest.mark.parametrize("what", bad_jwts())
def test_bad_jwts(server: Server, what: str) -> None:
    """RFC 8725, and further malformed input."""
    response = present(server, bad_jwts()[what])
    assert is_refused(response)


@pytest.mark.parametrize("typ", ["JWT", "jwt", "client-authentication+jwt", "application/client-authentication+jwt"])
def test_the_types_that_an_assertion_may_have(server: Server, typ: str) -> None:
    assert is_in(present(server, signed(claims(), typ=typ)))


def test_unknown_header_parameters_are_ignored(server: Server) -> None:
    """RFC 7515 section 4."""
    assert is_in(present(server, signed(claims(), x5t="abc", more={"a": 1})))


def test_only_the_registered_algorithm(server: Server) -> None:
    server.add(
        signer("es", token_endpoint_auth_signing_alg="ES256"),
        signer("odd", token_endpoint_auth_signing_alg="HS256"),
        sealer("hs", token_endpoint_auth_signing_alg="HS256"),
        sealer("rs", token_endpoint_auth_signing_alg="RS256"),
    )
    assert is_in(present(server, signed(claims("es"))))
    for algorithm in {*KEYS} - {"ES256"}:
        assert is_refused(present(server, signed(claims("es"), algorithm)))
    assert is_refused(present(server, signed(claims("odd"))))
    assert is_refused(present(server, hmac_signed(claims("odd"), SECRET)))
    assert is_in(present(server, hmac_signed(claims("hs"), SECRET)))
    assert is_refused(present(server, hmac_signed(claims("rs"), SECRET)))


def test_only_the_registered_method(server: Server) -> None:
    server.add(a_client(client_id="keyed", jwks=jwks()), sealer("both", jwks=jwks()))
    server.add(signer("hashed", secret_sealed=DATA_KEY.encrypt(SECRET.encode())))
    assert is_refused(present(server, signed(claims("keyed"))))
    assert is_refused(present(server, signed(claims("both"))))
    assert is_refused(present(server, hmac_signed(claims("hashed"), SECRET)))
    form = {"grant_type": "refresh_token", "refresh_token": "x"}
    for client_id in ("signer", "sealer"):
        assert is_refused(server.post("/token", {}, **form, client_id=client_id, client_secret=SECRET))
        assert is_refused(server.post("/token", {}, **form, client_id=client_id))


def test_one_authentication_a_request(server: Server) -> None:
    """RFC 6749 section 2.3, RFC 7521 section 4.2."""
    form = {"grant_type": "refresh_token", "refresh_token": "x", "client_assertion_type": CLIENT_ASSERTION_TYPE}
    form["client_assertion"] = signed(claims())
    assert server.post("/token", TALLY, **form).json["error"] == "invalid_request"
    assert server.post("/token", {}, **form, client_secret=SECRET).json["error"] == "invalid_request"
    for name in ("client_assertion", "client_assertion_type"):
        assert server.post("/token", TALLY, **{name: form[name]}).json["error"] == "invalid_request"
    assert is_in(present(server, form["client_assertion"])), "a rejected request used up the assertion"


def test_type_and_client_id_beside_it_must_agree(server: Server) -> None:
    assertion = signed(claims())
    assert is_refused(present(server, assertion, client_assertion_type="-"))
    assert is_refused(present(server, assertion, client_assertion_type="urn:x"))
    saml = CLIENT_ASSERTION_TYPE.replace("jwt", "saml2")
    assert is_refused(present(server, assertion, client_assertion_type=saml))
    assert is_refused(present(server, assertion, client_id="tally"))
    assert is_refused(present(server, "-"))
    assert is_in(present(server, assertion, client_id="signer"))


def test_who_guesses_is_slowed_down(server: Server) -> None:
    server = again(server, client_limit=limit("3/hour"))
    for _ in range(3):
        assert is_refused(present(server, signed(claims(), key=ECKey.generate_key("P-256"))))
    assert present(server, signed(claims(), key=ECKey.generate_key("P-256"))).status_code == 429
    assert is_in(present(server, signed(claims())))
    assert is_in(present(server, signed(claims("certified"))))


def test_used_assertions_are_bounded_by_address(server: Server) -> None:
    """The longer the server has to remember an assertion, the more it counts towards the limit."""
    server = again(server, assertion_bytes_limit=limit("500/hour"))
    for _ in range(20):
        assert is_in(present(server, signed(claims())))
    statuses = [present(server, signed(claims(exp=now() + MAX_AHEAD))).status_code for _ in range(3)]
    assert statuses == [400, 429, 429]
    assert server.post("/token", TALLY, grant_type="refresh_token", refresh_token="x").status_code == 400


def test_what_was_decided_can_be_watched(server: Server) -> None:
    with events.watching(events.Notebook()) as notebook:
        present(server, signed(claims()))
        present(server, signed(claims(aud="https://other.test")))
    told = [(note["name"], note["passed"]) for note in notebook.notes if note.get("name", "").startswith("client_")]
    first = [("signature", True), ("sub", True), ("aud", True), ("exp", True), ("jti", True)]
    second = [("signature", True), ("sub", True), ("aud", False)]
    assert told == [(f"client_assertion.{name}", passed) for name, passed in first + second]


def test_redis_is_away(server: Server) -> None:
    away = again(server, redis_url="unix:///nowhere/redis.sock")
    assert present(away, signed(claims())).status_code == 503


def test_the_metadata_names_methods_and_algorithms(server: Server) -> None:
    """RFC 8414 section 2: with these methods, the algorithms MUST be listed, and never `none`."""
    document = server.app.test_client().get("/.well-known/oauth-authorization-server").json
    assert document is not None
    for endpoint in ("token", "revocation"):
        assert {"private_key_jwt", "client_secret_jwt"} < {*document[f"{endpoint}_endpoint_auth_methods_supported"]}
        assert {*document[f"{endpoint}_endpoint_auth_signing_alg_values_supported"]} == {*KEYS, "HS256"}
    assert document["introspection_endpoint_auth_methods_supported"] == ["client_secret_basic"]


def test_base64_is_canonical(server: Server) -> None:
    """Otherwise an assertion would have several encodings."""
    header, payload, signature = signed(claims()).split(".")
    assert len(base64.urlsafe_b64decode(signature + "==")) == 64
    last = chr(ord(signature[-1]) + 1)
    assert is_refused(present(server, f"{header}.{payload}.{signature[:-1]}{last}"))
