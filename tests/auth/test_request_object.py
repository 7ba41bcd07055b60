"""Request objects: by value and by a registered request_uri (RFC 9101, OpenID Connect Core section 6)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey
from werkzeug.test import TestResponse

from rolecall import clock, events
from rolecall.limits import limit
from rolecall.vocabulary import ID_TOKEN_ALGORITHMS
from rolecall_auth.outbound import fetcher
from rolecall_auth.outbound.cache import MIN_LIFETIME
from support.auth_server import (
    CALLBACK,
    CHALLENGE,
    ISSUER,
    Server,
    a_client,
    authorize_url,
    make_server,
    make_settings,
    query,
)
from support.signing import KEYS, Keeper, changed, hmac_signed, jwk, jwks, now, segment, signed

OTHER = "http://tally.test/other"


@pytest.fixture
def keeper() -> Iterator[Keeper]:
    keeper = Keeper(b"")
    yield keeper
    keeper.stop()


@pytest.fixture
def server(tmp_path: Any, redis_url: str, keeper: Keeper) -> Server:
    server = make_server(make_settings(tmp_path, redis_url))
    uris = [keeper.url + "/request", keeper.url + "/fixed#part"]
    server.add(
        a_client(client_id="signer", jwks=jwks(), request_uris=uris, redirect_uris=[CALLBACK, OTHER]),
        a_client(client_id="es", jwks=jwks(), request_object_signing_alg="ES256"),
        a_client(client_id="odd", jwks=jwks(), request_object_signing_alg="none"),
    )
    return server


def claims(client_id: str = "signer", /, **changes: Any) -> dict[str, Any]:
    given = {"iss": client_id, "aud": ISSUER, "exp": now() + 60, "client_id": client_id, "response_type": "code"}
    given |= {"redirect_uri": CALLBACK, "scope": "invoices:read", "state": "within"}
    given |= {"code_challenge": CHALLENGE, "code_challenge_method": "S256"}
    return changed(given, changes)


def ask(server: Server, /, **parameters: str) -> TestResponse:
    """Send an authorization request with only `client_id` and these parameters."""
    nothing = dict.fromkeys(query(authorize_url()), "-")
    return server.app.test_client().get(authorize_url(**{**nothing, "client_id": "signer", **parameters}))


def answer(server: Server, /, **parameters: str) -> dict[str, str]:
    """Return the authorization response for a person who allows everything."""
    browser = server.browser()
    browser.sign_in()
    nothing = dict.fromkeys(query(authorize_url()), "-")
    return browser.authorize(**{**nothing, "client_id": "signer", **parameters})


def error(server: Server, request: str, **parameters: str) -> str:
    """Return the error that is sent to the registered redirect URI in the query, outside of the object."""
    response = ask(server, request=request, redirect_uri=CALLBACK, state="outer", **parameters)
    assert response.status_code == 303, response.text
    assert response.location.startswith(CALLBACK)
    told = query(response.location)
    assert (told["state"], told["iss"]) == ("outer", ISSUER)
    return told["error"]


@pytest.mark.parametrize("algorithm", ID_TOKEN_ALGORITHMS)
def test_the_request_is_in_the_object(server: Server, algorithm: str) -> None:
    """RFC 9101 section 5."""
    told = answer(server, request=signed(claims(), algorithm))
    assert told["state"] == "within"
    assert "code" in told


def test_the_code_is_redeemed_as_the_object_says(server: Server) -> None:
    from support.auth_server import SECRET, basic

    told = answer(server, request=signed(claims(redirect_uri=OTHER)))
    given = server.redeem(told["code"], basic("signer", SECRET), redirect_uri=OTHER)
    assert given.status_code == 200, given.text


def test_only_the_parameters_in_the_object_count(server: Server) -> None:
    """RFC 9101 section 6.3."""
    told = answer(
        server,
        request=signed(claims(redirect_uri=OTHER)),
        redirect_uri=CALLBACK,
        scope="invoices:pay",
        state="outer",
        response_type="token",
    )
    assert told["state"] == "within"
    assert "code" in told
    response = ask(server, request=signed(claims(state=None)), state="outer", nonce="outer")
    assert response.status_code == 303
    assert "state" not in query(ask(server, request=signed(claims(state=None, scope="x")), state="outer").location)
    assert (
        ask(server, request=signed(claims(redirect_uri="http://evil.test")), redirect_uri=CALLBACK).status_code == 400
    )


def test_a_request_by_post(server: Server) -> None:
    form = {"client_id": "signer", "request": signed(claims())}
    first = server.app.test_client().post("/authorize", data=form)
    assert first.status_code == 303
    assert "interaction=" in first.location


BAD: dict[str, dict[str, Any]] = {
    "no iss": {"iss": None},
    "another iss": {"iss": "tally"},
    "no aud": {"aud": None},
    "another aud": {"aud": "https://other.test"},
    "others in aud": {"aud": ["https://other.test"]},
    "no exp": {"exp": None},
    "expired": {"exp": 1},
    "exp is text": {"exp": "9999999999"},
    "not yet": {"nbf": 9999999999},
    "from the future": {"iat": 9999999999},
    "another client_id": {"client_id": "tally"},
    "client_id is a number": {"client_id": 5},
    "an assertion": {"sub": "signer"},
    "request within": {"request": "x"},
    "request_uri within": {"request_uri": "https://x.test"},
    "state is a number": {"state": 5},
    "scope is a list": {"scope": ["invoices:read"]},
    "nonce is null": {"nonce": [None]},
    "redirect_uri is an object": {"redirect_uri": {}},
    "response_type is true": {"response_type": True},
    "max_age is true": {"max_age": True},
    "max_age is a fraction": {"max_age": 1.5},
    "max_age is very large": {"max_age": 10**400},
    "claims is a list": {"claims": []},
    "unknown is a list": {"unknown": [1]},
}


@pytest.mark.parametrize("what", BAD)
def test_bad_objects(server: Server, what: str) -> None:
    """RFC 9101 section 4."""
    assert error(server, signed(claims(**BAD[what]))) == "invalid_request_object"


def bad_jwts() -> dict[str, str]:
    good = claims()
    _, payload, signature = signed(good).split(".")
    evil = ECKey.generate_key("P-256")
    return {
        "none": segment(b'{"alg":"none"}') + f".{payload}.",
        "none with a signature": segment(b'{"alg":"none"}') + f".{payload}.{signature}",
        "another key": signed(good, key=evil),
        "another client's typ": signed(good, typ="client-authentication+jwt"),
        "an access token": signed(good, typ="at+jwt"),
        "jwk": signed(good, key=evil, jwk=evil.as_dict(private=False)),
        "jku": signed(good, jku="https://evil.example/keys"),
        "HMAC": hmac_signed(good, json.dumps(jwk("ES256"))),
        "nested": signed(good, cty="JWT", text=signed(good).encode()),
        "a list": signed([good]),
        "no JWT": "x",
        "deep": signed(good, text=b"[" * 5000),
        "oversized": signed({**good, "more": "x" * 8192}),
        "encrypted": "a.b.c.d.e",
        "odd characters": "a b",
    }


@pytest.mark.parametrize("what", bad_jwts())
def test_bad_jwts(server: Server, what: str) -> None:
    """RFC 9101 section 6.2."""
    assert error(server, bad_jwts()[what]) == "invalid_request_object"


def test_without_a_good_redirect_uri_beside_it_the_person_is_told(server: Server) -> None:
    """The redirect URI of an invalid object is not trusted, so the browser is not redirected to it."""
    bad = signed(claims(), key=ECKey.generate_key("P-256"))
    assert ask(server, request=bad).status_code == 400
    assert ask(server, request=bad, redirect_uri="http://evil.test").status_code == 400
    assert ask(server, request=signed(claims()), client_id="nobody").status_code == 400
    assert ask(server, request=signed(claims()), client_id="-").status_code == 400


def test_in_the_profile_openid_an_object_needs_no_end(server: Server) -> None:
    """OpenID Connect Core section 6.1 and RFC 9101 section 4 do not require `exp`, but if present, it is checked."""
    server.add(a_client(client_id="certified", profile="openid", jwks=jwks()))
    good = signed(claims("certified", exp=None))
    assert "sign-in" in ask(server, request=good, client_id="certified").location
    for change in ({"exp": 1}, {"exp": 0}, {"exp": None, "nbf": 9999999999}, {"exp": None, "iat": 9999999999}):
        bad = signed(claims("certified", **change))
        assert error(server, bad, client_id="certified") == "invalid_request_object", change


def test_types_times_and_audiences_that_are_good(server: Server) -> None:
    for header in ({"typ": "JWT"}, {"typ": "oauth-authz-req+jwt"}, {"typ": "application/oauth-authz-req+jwt"}):
        assert "sign-in" in ask(server, request=signed(claims(), **header)).location
    for change in (
        {"aud": [ISSUER, "https://other.test"]},
        {"client_id": None},
        {"exp": now() + 10**9},
        {"nbf": now(), "iat": now(), "jti": "x"},
        {"max_age": 60},
        {"max_age": "60"},
        {"claims": {"id_token": {"acr": None}}},
        {"claims": "{}"},
        {"unknown": "text"},
    ):
        assert "sign-in" in ask(server, request=signed(claims(**change))).location, change


def test_only_the_registered_algorithm(server: Server) -> None:
    assert "sign-in" in ask(server, request=signed(claims("es")), client_id="es").location
    for algorithm in {*KEYS} - {"ES256"}:
        assert error(server, signed(claims("es"), algorithm), client_id="es") == "invalid_request_object"
    for algorithm in KEYS:
        assert error(server, signed(claims("odd"), algorithm), client_id="odd") == "invalid_request_object"
    unsigned = segment(b'{"alg":"none"}') + "." + segment(json.dumps(claims("odd")).encode()) + "."
    assert error(server, unsigned, client_id="odd") == "invalid_request_object"


def by_uri(server: Server, request_uri: str, **parameters: str) -> str:
    """Return `sign-in`, or the error."""
    response = ask(server, request_uri=request_uri, redirect_uri=CALLBACK, **parameters)
    assert response.status_code == 303, response.text
    return "sign-in" if "/sign-in" in response.location else query(response.location)["error"]


def test_a_registered_request_uri_is_fetched_and_kept(server: Server, keeper: Keeper) -> None:
    keeper.body = signed(claims()).encode() + b"\n"
    assert by_uri(server, keeper.url + "/request") == "sign-in"
    assert by_uri(server, keeper.url + "/request") == "sign-in"
    assert keeper.asked == ["/request"]


def test_what_has_to_be_fetched_is_counted_by_who_asks(tmp_path: Path, redis_url: str, keeper: Keeper) -> None:
    """RFC 9101 section 10.4.1: anyone can send a registered `request_uri`; only a fetch counts, not a cached copy."""
    server = make_server(make_settings(tmp_path, redis_url, authorization_limit=limit("2/minute")))
    uris = [f"{keeper.url}/{number}" for number in range(3)]
    server.add(a_client(client_id="signer", jwks=jwks(), request_uris=uris))
    keeper.body = b"no request object"
    for uri in (uris[0], uris[0], uris[0], uris[1], uris[1]):
        assert by_uri(server, uri) == "invalid_request_object"
    refused = ask(server, request_uri=uris[2], redirect_uri=CALLBACK)
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 0
    assert by_uri(server, uris[1]) == "invalid_request_object"
    assert keeper.asked == ["/0", "/1"]


def test_where_too_much_is_fetched_the_client_may_try_again(
    server: Server, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper.body = signed(claims()).encode()
    with monkeypatch.context() as patched:
        patched.setattr(server.services.fetcher, "_waiting", fetcher._Slots(0, 1))
        assert by_uri(server, keeper.url + "/request") == "temporarily_unavailable"
    assert by_uri(server, keeper.url + "/request") == "sign-in"


def test_no_other_is_fetched(server: Server, keeper: Keeper) -> None:
    """RFC 9101 section 10.4.1, OpenID Connect Core section 6.2. RFC 9101 section 5.2.2."""
    keeper.body = signed(claims()).encode()
    for address in ("/other", "/request/", "/request?a=b", "/REQUEST", "/fixed", "/fixed#other", ""):
        assert by_uri(server, keeper.url + address) == "invalid_request_uri", address
    assert by_uri(server, keeper.url + "/request", client_id="es") == "invalid_request_uri"
    for address in ("urn:ietf:params:oauth:request_uri:x", "https://" + "x" * 600, "data:text/plain,x", "x"):
        assert by_uri(server, address) == "invalid_request_uri", address
    assert not keeper.asked


def test_another_hash_in_the_fragment_only_renews_the_copy(server: Server, keeper: Keeper) -> None:
    """OpenID Connect Core section 6.2: another fragment causes a new fetch; the new copy is used in any case."""
    keeper.body = old = signed(claims()).encode()
    first = segment(hashlib.sha256(old).digest())
    assert by_uri(server, f"{keeper.url}/request#{first}") == "sign-in"
    keeper.body = signed(claims(state="new")).encode()
    second = segment(hashlib.sha256(keeper.body).digest())
    assert by_uri(server, f"{keeper.url}/request#{second}") == "sign-in"
    assert len(keeper.asked) == 2
    keeper.body = old
    for fragment in (first, "x"):
        assert by_uri(server, f"{keeper.url}/request#{fragment}") == "sign-in"
    assert len(keeper.asked) == 2, "not again within seconds"
    clock.set_offset(MIN_LIFETIME + 1)
    assert by_uri(server, f"{keeper.url}/request#{first}") == "sign-in"
    assert len(keeper.asked) == 3


def test_the_object_is_used_whose_hash_differs_from_the_first(server: Server, keeper: Keeper) -> None:
    """OpenID Connect Core section 6.2; an object with an invalid signature is still rejected."""
    keeper.body = signed(claims()).encode()
    assert by_uri(server, f"{keeper.url}/request#AAAA") == "sign-in"
    keeper.body = signed(claims(), key=ECKey.generate_key("P-256")).encode()
    clock.set_offset(MIN_LIFETIME + 301)
    assert by_uri(server, f"{keeper.url}/request#AAAA") == "invalid_request_object"


def test_a_null_in_the_object_counts_as_omitted(server: Server) -> None:
    """RFC 6749 section 3.1: as an empty parameter does."""
    nulls = {"nonce": None, "prompt": None, "resource": None, "claims": {"userinfo": None, "id_token": None}}
    assert "/sign-in" in ask(server, request=signed({**claims(), **nulls})).location


@pytest.mark.parametrize("body", [b"", b"\xff", b"x" * 70_000])
def test_what_is_there_is_no_request_object(server: Server, keeper: Keeper, body: bytes) -> None:
    """RFC 9101 section 5.2.3."""
    keeper.body = body
    assert by_uri(server, keeper.url + "/request") == "invalid_request_uri"


def test_what_is_there_is_bad(server: Server, keeper: Keeper) -> None:
    keeper.body = signed(claims(), key=ECKey.generate_key("P-256")).encode()
    assert by_uri(server, keeper.url + "/request") == "invalid_request_object"
    keeper.status = 404
    clock.set_offset(301)
    assert by_uri(server, keeper.url + "/request") == "invalid_request_uri"


def test_one_of_them(server: Server, keeper: Keeper) -> None:
    assert error(server, signed(claims()), request_uri=keeper.url + "/request") == "invalid_request"
    both = [("client_id", "signer"), ("redirect_uri", CALLBACK), ("request", "a"), ("request", "b")]
    response = server.app.test_client().get("/authorize", query_string=both)
    assert query(response.location)["error"] == "invalid_request"


def test_what_was_decided_can_be_watched(server: Server) -> None:
    with events.watching(events.Notebook()) as notebook:
        ask(server, request=signed(claims()))
    told = {note["name"]: note["passed"] for note in notebook.notes if note.get("name", "").startswith("request_ob")}
    assert told == dict.fromkeys(
        [f"request_object.{name}" for name in ("one", "signature", "iss", "aud", "exp", "client_id", "nested")], True
    ) | {"request_object.values": True}


def test_the_metadata_say_so(server: Server) -> None:
    """OpenID Connect Discovery section 3, RFC 9101 section 10.5."""
    document = server.app.test_client().get("/.well-known/oauth-authorization-server").json
    assert document is not None
    assert document["request_parameter_supported"] is True
    assert document["request_uri_parameter_supported"] is True
    assert document["require_request_uri_registration"] is True
    assert document["request_object_signing_alg_values_supported"] == list(ID_TOKEN_ALGORITHMS)
