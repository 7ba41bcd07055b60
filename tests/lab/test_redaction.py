"""The redaction of single exchanges: which parts of a message may be recorded."""

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest

from rolecall_lab.recording.event import Exchange
from rolecall_lab.recording.marks import masked
from rolecall_lab.recording.redaction import Redaction
from rolecall_lab.settings import LabSettings
from support.recorded_events import describe
from support.small_services import KEY, SECRETS, STATE, b64, basic, s256

FORM = {"content-type": "application/x-www-form-urlencoded"}
JSON = [("Content-Type", "application/json")]
PASSWORD = "pass word/with%odd&signs=1"


@pytest.mark.parametrize(
    "exchange",
    [
        {"request_headers": {"authorization": f"Bearer {PASSWORD}"}},
        {"request_headers": {"authorization": f"Token {PASSWORD}"}},
        {"request_headers": {"authorization": "Basic " + base64.b64encode(PASSWORD.encode()).decode()}},
        {"request_headers": {"authorization": basic("alice", PASSWORD)}},
        {"request_headers": {"cookie": PASSWORD}},
        {"request_headers": {"cookie": f"session={PASSWORD}"}},
        {"request_headers": {"x-api-key": PASSWORD, "referer": f"http://x/?code={PASSWORD}"}},
        {"response_headers": [("Set-Cookie", f"session={PASSWORD}; Path=/")]},
        {"response_headers": [("Location", "http://alice:wonderland@x/#access_token=wonderland-token")]},
        {"response_headers": [("Location", "app:/cb?next=/cb%3Fcode%3Dwonderland-code&code=wonderland-code")]},
        {"url": "/?redirect_uri=http%3A%2F%2Fx%2F%3Ftoken%3Dwonderland-token-1"},
        {"url": "/?wonderland1=&PassWord=wonderland-2&x.client_secret=wonderland-3&username=wonderland-2"},
        {"url": "/i/Wonderland4Wonderland4Wonderland4/x"},
        {"url": "/?state=wonderland-5&password=wonderland-5"},
        {
            "body": {
                "password": "wonderland",
                "a": [{"api_secret": ["wonderland"]}],
                "client_secret": {"x": "wonderland"},
            }
        },
        {"body": {"b": {"password": 19283746}, "otp_code": 19283746, "at": "http://x/?code=wonderland-code"}},
        {"body": {"note": "eyJhbGciOiJFUzI1NiJ9.e30.wonderland-signature"}},
    ],
    ids=lambda each: str(each)[:60],
)
def test_odd_places_for_secrets(exchange: dict[str, Any], settings: Callable[..., LabSettings]) -> None:
    form = {"url": "/", "request_headers": {}, **exchange}
    headers = form.pop("response_headers", [])
    if "body" in form:
        form["body"] = json.dumps(form["body"]).encode()
        headers = [("Content-Type", "application/json")]
    event = describe(Exchange("received", "GET", milliseconds=1, response_headers=headers, **form), settings())
    text = json.dumps(masked(event))
    for trace in ("wonderland-", "wonderland1", "Wonderland4W", "19283746", PASSWORD, PASSWORD[:12], "alice:"):
        assert trace not in text
    assert basic("alice", PASSWORD)[6:] not in text


def test_what_is_repeated_or_empty_is_seen(settings: Callable[..., LabSettings]) -> None:
    """RFC 6749 section 3.1: parameters must not be sent more than once."""
    event = describe(Exchange("received", "GET", "/authorize?scope=a&scope=b&client_id=&scope=c", {}, 1), settings())
    assert event["query"] == {"scope": ["a", "b", "c"], "client_id": ""}


@pytest.mark.parametrize(
    "body",
    [b"{", b"[" * 9000, b"\xff", b'{"a":1e999,"b":NaN,"c":"\\ud800"}', b'{"n":' + b"9" * 5000 + b"}", b" " * 20000],
    ids=["broken", "deep", "no UTF-8", "odd values", "large number", "long"],
)
def test_no_body_breaks_the_recorder(body: bytes, settings: Callable[..., LabSettings]) -> None:
    exchange = Exchange(
        "received", "GET", "/", {}, 1, body=body, response_headers=[("Content-Type", "application/json")]
    )
    json.loads(json.dumps(describe(exchange, settings()), allow_nan=False))


def test_short_values_join_nothing(settings: Callable[..., LabSettings]) -> None:
    event = describe(Exchange("received", "GET", "/authorize?state=xyz&code=1", {}, 1), settings())
    assert event["handles"] == []


def test_verifier_and_challenge_are_of_one_flow(settings: Callable[..., LabSettings]) -> None:
    """RFC 7636 section 4.2."""
    url = f"/authorize?code_challenge={s256(SECRETS['verifier'])}"
    asked = describe(Exchange("received", "GET", url, {}, 1), settings())
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    form = f"code_verifier={SECRETS['verifier']}".encode()
    redeemed = describe(Exchange("received", "POST", "/token", headers, 1, request_body=form), settings())
    assert asked["handles"] == redeemed["handles"] != []


@pytest.mark.parametrize("password", ["form", "abc", "7", "builder-lab"])
def test_a_password_of_any_length_is_nowhere_else(password: str, settings: Callable[..., LabSettings]) -> None:
    """A whole value is always searched for; within other values, it is if it is too long to be an ordinary word."""
    form = f"password={password}&username={password}&state=a-state-of-its-own".encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded", "User-Agent": password}
    body = json.dumps({"passwords": {"of": [password, {"x": password}]}, "echo": password}).encode()
    answer = [("Content-Type", "application/json")]
    exchange = Exchange(
        "received", "POST", "/sign-in", headers, 1, request_body=form, status=200, response_headers=answer, body=body
    )
    exchange.notes.append({"kind": "identity", "value": password})
    event = describe(exchange, settings())
    assert event["form"]["password"] == event["body"]["passwords"] == {"hidden": True}
    for found in (event["form"]["username"], event["request_headers"]["user-agent"], event["body"]["echo"]):
        assert found.endswith("…")
        assert found != password
    assert event["form"]["state"]["value"] == "a-state-of-its-own"


def test_what_stands_in_a_hidden_object_is_nowhere_else(settings: Callable[..., LabSettings]) -> None:
    body = (
        b'{"secrets": ["a-long-secret-1", {"inner": "a-long-secret-2"}], "echo": "x a-long-secret-1 a-long-secret-2"}'
    )
    answer = [("Content-Type", "application/json")]
    event = describe(
        Exchange("received", "GET", "/", {}, 1, status=200, response_headers=answer, body=body), settings()
    )
    assert event["body"]["secrets"] == {"hidden": True}
    assert "a-long-secret" not in json.dumps(event)


def test_what_a_client_made_is_told_from_what_a_server_made(settings: Callable[..., LabSettings]) -> None:
    url = f"/callback?state={STATE}&code={SECRETS['code']}"
    event = describe(Exchange("received", "GET", url, {}, 1), settings())
    redaction = Redaction(KEY)
    assert event["chosen"] == [redaction.hash(STATE)]
    assert event["handles"] == sorted([redaction.hash(STATE), redaction.hash(SECRETS["code"])])


@pytest.mark.parametrize("where", ["form", "basic"])
def test_a_clients_name_is_no_secret_however_random_it_is(where: str, settings: Callable[..., LabSettings]) -> None:
    """Clients that registered themselves have client IDs of 128 random bits (RFC 7591 section 3.2.1)."""
    name = "s5K1Eqq8TzWm3yVb0aXc9Q"
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    headers |= {"Authorization": basic(name, "a-secret-of-its-own")} if where == "basic" else {}
    form = f"client_id={name}&token=x".encode() if where == "form" else b"token=x"
    note = {"kind": "check", "name": "c", "passed": True, "expected": "a client", "actual": name, "clause": "RFC 7009"}
    notes = [note, {"kind": "identity", "value": name}]
    event = describe(Exchange("received", "POST", "/revoke", headers, 1, request_body=form, notes=notes), settings())
    assert event["checks"][0]["actual"] == name
    found = event["form"] if where == "form" else event["request_headers"]["authorization"]
    assert found["client_id"] == name


def test_hashes_depend_on_the_key() -> None:
    assert Redaction("one").hash("value") != Redaction("two").hash("value")


@pytest.mark.parametrize("secret", ["a", "12345678", "WDJB-MJHT", "urn:ietf:params:oauth:request_uri:abcdef"])
def test_little_is_shown_of_what_is_short(secret: str) -> None:
    shown = Redaction(KEY).mark(secret)["shown"].rstrip("…")
    assert len(shown) * 4 <= len(secret.rpartition(":")[2])


def test_a_request_uri_is_the_clients_choice_unless_it_was_pushed() -> None:
    """RFC 9126 section 2.2 and RFC 9101 section 5.2: a client may use the same URL in all its requests."""
    pushed = "urn:ietf:params:oauth:request_uri:6esc_11ACC5bwc014ltc14eY22c"
    for request_uri, chosen in ((pushed, 0), ("https://client.example/request.jwt", 1)):
        redacted = Redaction(KEY)
        assert redacted.wipe(redacted.parameters([("request_uri", request_uri)]))["request_uri"]["value"] == request_uri
        assert (len(redacted.handles), len(redacted.chosen)) == (1, chosen)


def test_what_openid_connect_asks_and_tells_is_seen() -> None:
    """OpenID Connect Core sections 3.1.2.1, 5.1.1 and 5.5: only the token in a hint is secret."""
    hidden = Redaction(KEY)
    asked = {"claims": '{"id_token": {"email": null}}', "login_hint": "alice", "prompt": "none", "max_age": "0"}
    assert hidden.parameters([*asked.items()]) == asked
    assert hidden.json({"address": {"postal_code": "OX1 1DP"}}) == {"address": {"postal_code": "OX1 1DP"}}
    assert hidden.json({"zip_code": "OX1 1DP"})["zip_code"]["shown"] != "OX1 1DP", "any other code is secret"
    assert hidden.parameters([("id_token_hint", "a.b.c")])["id_token_hint"]["shown"] != "a.b.c"


REGISTRATION = {
    "client_name": "Tally", "redirect_uris": ["http://localhost/cb", "http://localhost/cb?a=b"],
    "client_secret": "wonderland-secret",
    "jwks": {"keys": [{"kty": "EC", "crv": "P-256", "x": "x1", "d": "wonderland-d"}]},
}  # fmt: skip


def test_what_a_client_sends_as_json_is_recorded_like_an_answer(settings: Callable[..., LabSettings]) -> None:
    """RFC 7591 section 2; a private key that is sent by mistake is not recorded (RFC 7518 section 6.2.2)."""
    headers = {"Content-Type": "application/json", "User-Agent": "wonderland-d"}
    exchange = Exchange("received", "PUT", "/register/x", headers, 1, request_body=json.dumps(REGISTRATION).encode())
    event = describe(exchange, settings())
    assert (event["form"], event["cut"]) == ({}, [])
    assert event["json"]["client_name"] == "Tally"
    assert event["json"]["redirect_uris"][0] == "http://localhost/cb"
    assert event["json"]["client_secret"] == {"hidden": True}
    [key] = event["json"]["jwks"]["keys"]
    assert key == {"kty": "EC", "crv": "P-256", "x": "x1", "d": {"hidden": True}}
    assert "wonderland" not in json.dumps(event)


@pytest.mark.parametrize("direction", ["received", "sent"])
@pytest.mark.parametrize("path", ["/register", "/register/s5K1Eqq8TzWm3yVb0aXc9Q", "/s/one/Register/x", "//register"])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer ", "DPoP"])
def test_the_tokens_of_client_registration_are_not_recorded(
    scheme: str, path: str, direction: str, settings: Callable[..., LabSettings]
) -> None:
    """RFC 7591 section 3 and RFC 7592 section 2: initial access tokens and registration access tokens."""
    token = "wonderland-token-0123456789abcdefghijklmn"
    headers = {"Authorization": f"{scheme} {token}", "Content-Type": "application/json", "User-Agent": token}
    body = json.dumps({"error": "invalid_redirect_uri", "error_description": f"x {token}"}).encode()
    url = f"http://localhost:8001{path}?access_token={token}"
    exchange = Exchange(direction, "PUT", url, headers, 1, status=400, response_headers=JSON, body=body)
    exchange.request_body = json.dumps({"redirect_uris": ["javascript:1"], "access_token": token}).encode()
    event = describe(exchange, settings())
    assert event["request_headers"]["authorization"] == {"scheme": scheme.strip(), "token": {"hidden": True}}
    assert token not in json.dumps(event)
    assert Redaction(KEY).hash(token) in event["handles"], "the messages of one registration still belong together"


@pytest.mark.parametrize("name", ["username", "client_id"])
@pytest.mark.parametrize("where", ["form", "query", "json", "basic", "nested"])
def test_a_name_that_the_service_does_not_know_is_hidden(
    where: str, name: str, settings: Callable[..., LabSettings]
) -> None:
    """The value may be a password or a client secret in the wrong field."""
    secret = "wonderland-lab 9"
    field = urlencode({name: secret})
    exchange = Exchange("received", "POST", "/token", dict(FORM), 1, status=401, response_headers=JSON)
    exchange.body = json.dumps({"error_description": f"unknown: {secret}"}).encode()
    if where == "form":
        exchange.request_body = field.encode()
    elif where == "json":
        exchange.request_headers = {"content-type": "application/json"}
        exchange.request_body = json.dumps({name: secret}).encode()
    elif where == "basic":
        exchange.request_headers = {"authorization": basic(secret, "another-secret")}
    else:
        exchange.url += f"?{field}" if where == "query" else f"?{urlencode({'redirect_uri': f'http://x/?{field}'})}"
    assert secret not in json.dumps(describe(exchange, settings()))
    exchange.notes = [{"kind": "identity", "value": "another one"}]
    assert secret not in json.dumps(describe(exchange, settings()))
    exchange.notes.append({"kind": "identity", "value": secret})
    assert json.dumps(describe(exchange, settings())).count(secret) == 2


@pytest.mark.parametrize("path", ["/register/wonderland", "/logos/wonderland"])
def test_a_path_that_ends_with_an_unknown_client_hides_it(path: str, settings: Callable[..., LabSettings]) -> None:
    exchange = Exchange("received", "GET", path, {}, 1, status=404)
    assert describe(exchange, settings())["path"] == path.replace("wonderland", "…")
    exchange.notes.append({"kind": "identity", "value": "wonderland"})
    assert describe(exchange, settings())["path"] == path


def test_a_service_records_the_client_that_it_names_itself(settings: Callable[..., LabSettings]) -> None:
    """It knows the client from its settings or from a registration, and no one types a secret into a token's claims."""
    sent = Exchange("sent", "POST", "http://localhost:8001/token", dict(FORM), 1, request_body=b"client_id=tally")
    assert describe(sent, settings("client"))["form"] == {"client_id": "tally"}
    redirect = [("Location", "http://localhost:8001/authorize?client_id=tally")]
    redirecting = Exchange("received", "POST", "/connect", {}, 1, status=303, response_headers=redirect)
    location = describe(redirecting, settings("client"))["response_headers"]["location"]
    assert location["parameters"] == {"client_id": "tally"}
    token = f"{b64({'alg': 'x'})}.{b64({'client_id': 'tally'})}.x"
    call = Exchange("received", "GET", "/invoices", {"authorization": f"Bearer {token}"}, 1, status=200)
    header = describe(call, settings("resource_server"))["request_headers"]["authorization"]
    assert header["token"]["unverified_claims"] == {"client_id": "tally"}


def test_a_header_that_is_not_known_is_there_and_its_value_is_not(settings: Callable[..., LabSettings]) -> None:
    random = "Rand0mRand0mRand0mRand0m"
    headers = {"X-Api-Key": "wonderland-key", random: "wonderland", "A b": "wonderland", "Accept": "*/*"}
    answer = [("Content-Security-Policy", "script-src 'nonce-wonderland'"), ("Vary", "Cookie")]
    event = describe(Exchange("received", "GET", "/", headers, 1, status=200, response_headers=answer), settings())
    hidden = {"hidden": True}
    assert event["request_headers"] == {"x-api-key": hidden, "?": hidden, "accept": "*/*"}
    assert event["response_headers"] == {"content-security-policy": hidden, "vary": "Cookie"}
    assert "wonderland" not in json.dumps(event)


@pytest.mark.parametrize(
    ("more", "cut"),
    [
        ({"url": "/?" + "&".join(f"p{number}=1" for number in range(65))}, ["query"]),
        ({"url": "/?scope=" + "x" * 1001}, ["query"]),
        ({"url": "/?code=" + "x" * 8193}, ["query"]),
        ({"url": "/" + "x" * 1001}, ["path"]),
        ({"request_headers": {"content-type": "application/json"}, "request_body": b" " * 16385}, ["json"]),
        ({"request_headers": dict(FORM), "request_body": b"scope=x&a=" + b"x" * 65536}, ["form"]),
        ({"request_headers": {"user-agent": "x" * 1001}}, ["request_headers"]),
        ({"response_headers": [("Location", "http://x/?scope=" + "x" * 1001)]}, ["response_headers"]),
        ({"response_headers": JSON, "body": b'"' + b"x" * 16384}, ["body"]),
        ({"response_headers": JSON, "body": json.dumps({"a": [*range(65)]}).encode()}, ["body"]),
        ({"response_headers": JSON, "body": b"[" * 9 + b"]" * 9}, ["body"]),
        ({"url": "/?scope=x", "response_headers": JSON, "body": b"[1]"}, []),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_left_out_is_said(more: dict[str, Any], cut: list[str], settings: Callable[..., LabSettings]) -> None:
    exchange = {"url": "/", "request_headers": {}, **more}
    assert describe(Exchange("received", "POST", milliseconds=1, status=200, **exchange), settings())["cut"] == cut


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_a_hash_is_followed_with_what_it_is_of(algorithm: str) -> None:
    """OpenID Connect Core section 3.1.3.6: `at_hash` is the left half of the hash of the signature's algorithm."""
    token, digest = "an-access-token-0123", hashlib.new(algorithm, b"an-access-token-0123").digest()
    half = base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()
    redacted = Redaction(KEY)
    id_token = f"{b64({'alg': 'x'})}.{b64({'at_hash': half, 'nonce': 'a-nonce-0123', 'c_hash': 'of another'})}.x"
    body = redacted.wipe(redacted.json({"access_token": token, "id_token": id_token}))
    claims = body["id_token"]["unverified_claims"]
    assert claims["at_hash"] == {"value": half, "hash": body["access_token"]["hash"]}
    assert claims["c_hash"] == {"value": "of another", "hash": redacted.hash("of another")}
    assert claims["nonce"] == redacted.parameters([("nonce", "a-nonce-0123")])["nonce"]
    assert claims["nonce"] == {"value": "a-nonce-0123", "hash": redacted.hash("a-nonce-0123")}


def test_a_proof_names_its_key() -> None:
    """RFC 7638 section 3.1: the thumbprint of its example; RFC 9449 section 4.2."""
    modulus = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknj"
        "hMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQ"
        "vRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzK"
        "nqDKgw"
    )
    key = {"kty": "RSA", "n": modulus, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"}
    proof = f"{b64({'typ': 'dpop+jwt', 'alg': 'RS256', 'jwk': key})}.{b64({'jti': 'x'})}.signature"
    thumbprint = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    redacted = Redaction(KEY)
    found = redacted.wipe(redacted.request_headers({"dpop": proof}))["dpop"]
    assert found["jkt"] == {"value": thumbprint, "hash": redacted.hash(thumbprint)}
    assert found["value"] == proof
    assert redacted.json({"cnf": {"jkt": thumbprint}}) == {"cnf": {"jkt": found["jkt"]}}
    for odd in (None, 7, {}, {"kty": ["RSA"]}, {"kty": "RSA", "n": 1, "e": "AQAB"}):
        header = b64({"alg": "RS256", "jwk": odd})
        assert "jkt" not in Redaction(KEY).request_headers({"dpop": f"{header}.{b64({})}.x"})["dpop"]


def test_a_cookie_of_one_request_is_recorded_without_the_digest_in_its_name() -> None:
    name = f"auth_8001_request_{'0f' * 8}"
    redacting = Redaction(KEY, ("auth_8001_request",))
    assert redacting.request_headers({"cookie": f"{name}=1.{PASSWORD}; other_{'0f' * 8}=x"}) == {
        "cookie": ["auth_8001_request"]
    }
    assert redacting.response_headers([("set-cookie", f"{name}=1.{PASSWORD}; Path=/")]) == {
        "set-cookie": ["auth_8001_request"]
    }
