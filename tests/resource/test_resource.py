"""The Invoices API: owners, scopes, both ways to validate tokens, keys, and challenges (RFC 6750, 9068, 9728)."""

from __future__ import annotations

import base64
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc.jwk import OctKey

from rolecall import clock, events
from rolecall.vocabulary import SIGNING_ALGORITHMS
from rolecall_resource.validators import local_jwt
from support.invoices_api import API, EC, EC2, ED, ISSUER, RSA, Api, an_api, an_invoice, claims, jwk, token

pytestmark = pytest.mark.database

METADATA = f'resource_metadata="{API}/.well-known/oauth-protected-resource"'


def test_an_owner_sees_only_their_own(api: Api) -> None:
    listed = api.get(token=token()).json["invoices"]
    assert [invoice["id"] for invoice in listed] == ["i2", "i1"], "the newest first"
    assert "owner_sub" not in listed[0]
    assert api.get("/invoices/i1", token()).json["number"] == "I1"
    foreign, unknown = api.get("/invoices/i3", token()), api.get("/invoices/nope", token())
    assert foreign.status_code == unknown.status_code == 404
    assert foreign.json == unknown.json
    assert api.call("POST", "/invoices/i3/payment", token()).status_code == 404
    assert api.get("/invoices/i3", token(sub="bob")).json["state"] == "open"
    nothing = {"invoices": [], "total": 0, "open": 0, "page": 1, "pages": 1, "next": None}
    assert api.get(token=token(sub="nobody")).json == nothing


def test_many_invoices_come_a_page_at_a_time(tmp_path: Path) -> None:
    """The links to the next page lead to each invoice exactly once; the totals are those of all pages."""
    days = [f"2026-{1 + number // 28:02}-{1 + number % 28:02}" for number in range(200)]
    many = [an_invoice(f"m{number:03}", issued_on=day) for number, day in enumerate(days)]
    for row in many[::4]:
        row.state = "paid"
    with an_api(tmp_path, *many, an_invoice("foreign", "bob")) as api:
        seen, sizes, path = [], [], "/invoices?limit=60"
        while path:
            answer = api.get(path, token()).json
            assert (answer["total"], answer["open"], answer["pages"]) == (200, 150, 4)
            seen += [invoice["id"] for invoice in answer["invoices"]]
            sizes.append(len(answer["invoices"]))
            path = answer["next"]
        assert seen == [f"m{number:03}" for number in reversed(range(200))]
        assert sizes == [60, 60, 60, 20]
        assert len(api.get(token=token()).json["invoices"]) == 25
        beyond = api.get("/invoices?page=9", token()).json
        assert (beyond["invoices"], beyond["page"], beyond["pages"], beyond["next"]) == ([], 9, 8, None)


@pytest.mark.parametrize(
    "query", ["page=0", "page=-1", "page=x", "page=", "page=1000001", "page=1&page=2", "limit=101", "limit=٣"]
)
def test_a_page_that_is_none_is_invalid_request(api: Api, query: str) -> None:
    """RFC 6750 section 3.1: a parameter's value that is not supported."""
    response = api.get(f"/invoices?{query}", token())
    assert response.status_code == 400
    assert response.json["error"] == "invalid_request"
    assert 'error="invalid_request"' in response.headers["WWW-Authenticate"]


def test_profile(api: Api) -> None:
    assert api.get("/profile", token()).json == {"sub": "alice", "name": "Alice Liddell", "email": None}
    assert api.get("/profile", token(sub="carol")).status_code == 404


VIEWS = [
    ("GET", "/invoices", "invoices:read"),
    ("GET", "/invoices/i1", "invoices:read"),
    ("POST", "/invoices/i1/payment", "invoices:pay"),
    ("GET", "/profile", "profile"),
]


@pytest.mark.parametrize(("method", "path", "scope"), VIEWS)
@pytest.mark.parametrize("kind", ["client", "", 5])
def test_each_view_needs_a_person(api: Api, method: str, path: str, scope: str, kind: Any) -> None:
    """RFC 9700 section 4.15: a client's own token gives no access, even with a person's subject."""
    api.server.introspection = {"active": True, **claims(scope=scope, sub_kind=kind)}
    for how in ("jwt", "introspection"):
        response = api.call(method, path, token(scope=scope, sub_kind=kind), how=how)
        assert response.status_code == 403, response.text
        assert response.json["error"] == "insufficient_scope"
        assert "insufficient_scope" in response.headers["WWW-Authenticate"]


@pytest.mark.parametrize(("method", "path", "scope"), VIEWS)
def test_each_view_wants_its_scope(api: Api, method: str, path: str, scope: str) -> None:
    """RFC 6750 section 3.1: 403 `insufficient_scope`, with the required scope."""
    others = " ".join({"invoices:read", "invoices:pay", "profile"} - {scope})
    response = api.call(method, path, token(scope=others))
    assert response.status_code == 403
    challenge = response.headers["WWW-Authenticate"]
    assert 'error="insufficient_scope"' in challenge
    assert f'scope="{scope}"' in challenge
    assert METADATA in challenge
    assert api.call(method, path, token(scope=scope)).status_code in {200, 201}
    assert api.call(method, path, token(scope="-")).status_code == 403


def test_an_invoice_is_paid_once_by_32(api: Api) -> None:
    barrier = threading.Barrier(32)

    def pay(_: int) -> int:
        barrier.wait()
        status = api.call("POST", "/invoices/i1/payment", token()).status_code
        # with PostgreSQL, requests beyond the number of connections may get a 503
        return pay_again() if status == 503 else status

    def pay_again() -> int:
        time.sleep(0.2)
        return api.call("POST", "/invoices/i1/payment", token()).status_code

    with ThreadPoolExecutor(32) as pool:
        statuses = list(pool.map(pay, range(32)))
    assert sorted(statuses) == [201] + [409] * 31
    assert api.get("/invoices/i1", token()).json["state"] == "paid"


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearerx y"}])
def test_no_credentials_no_error_code(api: Api, headers: dict[str, str]) -> None:
    """RFC 6750 section 3.1: SHOULD NOT include an error code."""
    response = api.get(**headers)
    assert response.status_code == 401
    challenge = response.headers["WWW-Authenticate"]
    assert challenge.startswith("Bearer ")
    assert METADATA in challenge
    assert "error" not in challenge


def test_tokens_outside_the_header_are_ignored(api: Api) -> None:
    """RFC 9700 section 4.3.2."""
    assert api.get(f"/invoices?access_token={token()}").status_code == 401
    response = api.app.test_client().post("/invoices/i1/payment", data={"access_token": token()})
    assert response.status_code == 401


@pytest.mark.parametrize("value", ["Bearer ", "Bearer a b", "Bearer é", "Bearer " + "x" * 8193, 'Bearer "', "Bearer ="])
def test_a_malformed_header_is_invalid_request(api: Api, value: str) -> None:
    response = api.get(Authorization=value)
    assert response.status_code == 400
    assert 'error="invalid_request"' in response.headers["WWW-Authenticate"]


def test_two_headers_are_refused(api: Api) -> None:
    headers = [("Authorization", f"Bearer {token()}"), ("Authorization", "Bearer x")]
    assert api.app.test_client().get("/invoices", headers=headers).status_code == 400


def broken(part: int, text: str) -> str:
    parts = token().split(".")
    parts[part] = text
    return ".".join(parts)


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def without_end() -> bytes:
    return json.dumps(claims()).replace('"exp": ', '"exp": 1e999, "x": ').encode()


def signed_with_public_key_as_hmac() -> str:
    pem = RSA.raw_value.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return token(OctKey.import_key(base64.b64encode(pem).decode()), {"alg": "HS256", "kid": "rsa"})


DEFECTS: dict[str, Any] = {
    "expired": lambda: token(exp=int(clock.now())),
    "not good yet": lambda: token(nbf=int(clock.now()) + 60),
    "from the future": lambda: token(iat=int(clock.now()) + 60),
    "another issuer": lambda: token(iss="http://evil.test"),
    "issuer with a slash": lambda: token(iss=ISSUER + "/"),
    "another audience": lambda: token(aud="http://other.test"),
    "audience a prefix": lambda: token(aud=API + "/x"),
    "audience an object": lambda: token(aud={"a": API}),
    "no audience": lambda: token(aud="-"),
    "no subject": lambda: token(sub="-"),
    "subject a number": lambda: token(sub=5),
    "no jti": lambda: token(jti="-"),
    "no client id": lambda: token(client_id="-"),
    "no iat": lambda: token(iat="-"),
    "no expiry": lambda: token(exp="-"),
    "expiry as text": lambda: token(exp="9999999999"),
    "expiry true": lambda: token(exp=True),
    "expiry without end": lambda: token(
        payload=json.dumps(claims()).replace('"exp": ', '"exp": 1e999, "x": ').encode()
    ),
    "scope a list": lambda: token(scope=["invoices:read"]),
    "type JWT": lambda: token(header={"typ": "JWT"}),
    "no type": lambda: token(header={"typ": "-"}),
    "critical extension": lambda: broken(
        0, encoded('{"alg":"ES256","typ":"at+jwt","kid":"ec","crit":["exp"],"exp":1}')
    ),
    "unknown key": lambda: token(header={"kid": "other"}),
    "key id a number": lambda: broken(0, encoded('{"alg":"ES256","typ":"at+jwt","kid":5}')),
    "key of the other algorithm": lambda: token(header={"kid": "rsa"}),
    "signed by another key": lambda: token(EC2),
    "public key as HMAC secret": signed_with_public_key_as_hmac,
    "signature cut": lambda: token()[:-4],
    "signature empty": lambda: broken(2, ""),
    "payload changed": lambda: broken(1, encoded(json.dumps(claims(sub="bob")))),
    "payload no JSON": lambda: token(payload=b"hello"),
    "payload a list": lambda: token(payload=b"[]"),
    "header no JSON": lambda: broken(0, "aGVsbG8"),
    "header a list": lambda: broken(0, "W10"),
    "algorithm none": lambda: broken(0, encoded('{"alg":"none","typ":"at+jwt","kid":"ec"}')),
    "one part": lambda: "abc",
    "five parts": lambda: "a.b.c.d.e",
    "deeply nested": lambda: broken(0, encoded("[" * 3000)),
}


@pytest.mark.parametrize("make", DEFECTS.values(), ids=DEFECTS.keys())
def test_a_token_with_one_defect_is_refused(api: Api, make: Any) -> None:
    """RFC 9068 section 4, RFC 8725."""
    assert api.get(token=token()).status_code == 200
    response = api.get(token=make())
    assert response.status_code == 401, response.text
    assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]
    assert METADATA in response.headers["WWW-Authenticate"]
    assert response.json["error"] == "invalid_token"


@pytest.mark.parametrize(
    "make",
    [
        lambda: token(RSA),
        lambda: token(header={"kid": "-"}),
        lambda: token(aud=["http://other.test", API]),
        lambda: token(header={"typ": "application/AT+JWT"}),
        lambda: token(exp=clock.now() + 1.5),
        lambda: token(iat=int(clock.now()) + 4),
    ],
)
def test_good_tokens_of_every_form_pass(api: Api, make: Any) -> None:
    """RFC 9068 section 2.1: RS256 as well."""
    assert api.get(token=make()).status_code == 200


@pytest.mark.parametrize("is_named", [True, False], ids=["with alg and kid", "without"])
@pytest.mark.parametrize("algorithm", SIGNING_ALGORITHMS)
def test_each_algorithm_of_access_tokens(api: Api, algorithm: str, is_named: bool) -> None:
    """RFC 9068 section 2.1; RFC 7517 sections 4.4 and 4.5: `alg` and `kid` are optional if only one key fits."""
    key = {"ES256": EC, "EdDSA": ED}.get(algorithm, RSA)
    published = jwk(key, "k", algorithm)
    if not is_named:
        del published["alg"], published["kid"]
    api.server.keys = [published]
    good = token(key, {"alg": algorithm, "kid": "k"})
    for _ in range(2):
        assert api.get(token=good).status_code == 200
    if is_named:
        for other in {"RS256", "PS256"} - {algorithm}:
            assert api.get(token=token(RSA, {"alg": other, "kid": "k"})).status_code == 401
    assert api.get(token=token(EC2, {"kid": "k"})).status_code == 401


def test_keys_that_fit_equally_are_not_tried(api: Api) -> None:
    """RFC 7517 section 4.5: without key IDs, two keys for the algorithm are ambiguous."""
    api.server.keys = [jwk(EC, "one", "ES256"), jwk(EC2, "two", "ES256")]
    assert api.get(token=token(header={"kid": "-"})).status_code == 401
    assert api.get(token=token(header={"kid": "one"})).status_code == 200
    assert api.get(token=token(header={"kid": "two"})).status_code == 401


def test_the_type_jwt_needs_a_setting(tmp_path: Path) -> None:
    """RFC 9068 section 4 requires `at+jwt`; an ID token lacks claims of an access token (section 2.2)."""
    with an_api(tmp_path, an_invoice("i1"), access_token_typ="JWT") as api:
        for typ in ("JWT", "jwt", "at+jwt"):
            assert api.get(token=token(header={"typ": typ})).status_code == 200
        for typ in ("-", "logout+jwt", "dpop+jwt"):
            assert api.get(token=token(header={"typ": typ})).status_code == 401
        id_token = token(header={"typ": "JWT"}, client_id="-", jti="-", scope="-", nonce="n")
        assert api.get(token=id_token).status_code == 401


def test_a_verified_token_is_remembered_and_never_beyond_its_end(api: Api) -> None:
    good = token()
    api.get(token=good)
    notebook = events.Notebook()
    with events.watching(notebook):
        assert api.get(token=good).status_code == 200
    assert {"token.cache", "token.exp"} <= {note["name"] for note in notebook.notes if note["kind"] == "check"}
    clock.set_offset(301)
    assert api.get(token=good).status_code == 401


def test_a_token_is_forgotten_with_its_key(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    good = token()
    assert api.get(token=good).status_code == 200
    api.server.keys = [jwk(RSA, "rsa", "RS256")]
    now = time.monotonic()
    monkeypatch.setattr(clock, "monotonic", lambda: now + 301)
    assert api.get(token=good).status_code == 401


def test_the_cache_is_bounded(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_jwt, "MAX_VERIFIED", 3)
    for number in range(10):
        api.get(token=token(jti=str(number)))
    assert len(api.app.extensions["resource_validators"]["jwt"]._verified) == 3


def test_an_unknown_key_is_fetched_once_in_ten_seconds(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.get(token=token())
    assert api.server.count("/jwks") == 1
    for _ in range(5):
        assert api.get(token=token(EC2, {"kid": "new"})).status_code == 401
    assert api.server.count("/jwks") == 2, "the first time immediately, and then not for each token"
    api.server.keys.append(jwk(EC2, "new", "ES256"))
    now = time.monotonic()
    monkeypatch.setattr(clock, "monotonic", lambda: now + 11)
    assert api.get(token=token(EC2, {"kid": "new"})).status_code == 200
    assert api.server.count("/jwks") == 3


def test_a_token_without_a_key_id_is_verified_by_the_only_key(api: Api) -> None:
    """RFC 7515 section 4.1.4: `kid` is optional."""
    assert api.get(token=token(header={"kid": "-"})).status_code == 200
    api.server.keys.append(jwk(EC2, "new", "ES256"))
    clock.set_offset(301)
    assert api.get(token=token(header={"kid": "-"}, exp=int(clock.now()) + 900)).status_code == 401


def test_threads_that_need_the_same_keys_share_one_fetch(api: Api) -> None:
    api.server.gate = threading.Event()
    with ThreadPoolExecutor(16) as pool:
        answers = [pool.submit(api.get, token=token()) for _ in range(16)]
        time.sleep(0.05)
        api.server.gate.set()
        assert {answer.result().status_code for answer in answers} == {200}
    assert api.server.count("/jwks") == 1


def test_known_keys_outlive_the_authorization_server(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.get(token=token())
    api.server.is_away = True
    now = time.monotonic()
    monkeypatch.setattr(clock, "monotonic", lambda: now + 400)
    assert api.get(token=token()).status_code == 200


@pytest.mark.parametrize("how", ["jwt", "introspection"])
def test_an_authorization_server_that_is_away_is_503(api: Api, how: str) -> None:
    api.server.is_away = True
    response = api.get(token=token(), how=how)
    assert response.status_code == 503
    assert response.json["error"] == "temporarily_unavailable"
    assert response.headers["Retry-After"]
    assert "WWW-Authenticate" not in response.headers
    if how == "jwt":
        asked = len(api.server.asked)
        assert api.get(token=token()).status_code == 503
        assert len(api.server.asked) == asked, "the next request waited for another timeout"


def test_metadata_of_another_issuer_are_not_used(api: Api) -> None:
    """RFC 8414 section 3.3."""
    api.server.issuer = "http://evil.test"
    assert api.get(token=token()).status_code == 503


def test_the_server_has_no_introspection_endpoint(api: Api) -> None:
    """RFC 8414 section 2: it is optional, and only introspection needs it."""
    api.server.has_introspection = False
    assert api.get(token=token()).status_code == 200
    assert api.get(token=token(), how="introspection").status_code == 503


def test_introspection_asks_each_time_with_its_own_credentials(api: Api) -> None:
    """RFC 7662 section 2.1; credentials form-urlencoded within Basic (RFC 6749 section 2.3.1)."""
    api.server.introspection = {"active": True, **claims()}
    for _ in range(2):
        assert api.get(token="opaque-token", how="introspection").status_code == 200
    assert api.server.count("/introspect") == 2
    _, headers, form = api.server.sent[-1]
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")) == b"invoices-api:a+resource+secret"
    assert form["token"] == "opaque-token"


INACTIVE: dict[str, Any] = {
    "inactive": {"active": False},
    "active as text": {"active": "true", **claims()},
    "active as number": {"active": 1, **claims()},
    "nothing": {},
    "active and no more": {"active": True},
    "expired": {"active": True, **claims(exp=1)},
    "another audience": {"active": True, **claims(aud="http://other.test")},
    "another issuer": {"active": True, **claims(iss="http://evil.test")},
}


@pytest.mark.parametrize("answer", INACTIVE.values(), ids=INACTIVE.keys())
def test_whatever_is_not_active_is_refused(api: Api, answer: Any) -> None:
    """RFC 7662 section 2.2: `active` is a boolean."""
    api.server.introspection = answer
    assert api.get(token="x", how="introspection").status_code == 401


@pytest.mark.parametrize(("status", "body"), [(401, {"error": "invalid_client"}), (503, {}), (200, [1]), (302, {})])
def test_an_introspection_that_fails_is_503(api: Api, status: int, body: Any) -> None:
    api.server.status, api.server.introspection = status, body
    response = api.get(token="x", how="introspection")
    assert response.status_code == 503
    assert "secret" not in response.text


def test_the_lab_chooses_the_validator_and_a_header_does_not(api: Api) -> None:
    headers = {"Authorization": f"Bearer {token()}", "Rolecall-Validator": "introspection", "rolecall.validator": "x"}
    assert api.app.test_client().get("/invoices", headers=headers).status_code == 200
    assert api.server.count("/introspect") == 0
    assert api.get(token=token(), how="other").status_code == 400


def test_metadata_say_what_is_there(api: Api) -> None:
    """RFC 9728 sections 2 and 3."""
    response = api.app.test_client().get("/.well-known/oauth-protected-resource")
    assert response.headers["Cache-Control"] == "public, max-age=300"
    assert response.json == {
        "resource": API,
        "authorization_servers": [ISSUER],
        "scopes_supported": ["invoices:read", "invoices:pay", "profile"],
        "bearer_methods_supported": ["header"],
        "resource_name": "Invoices API",
    }
    assert api.app.test_client().get("/.well-known/oauth-protected-resource/other").status_code == 404


def test_migrations_run_up_down_and_up(api: Api) -> None:
    database = api.app.extensions["resource_database"]
    database.downgrade("base")
    assert database.revision() is None
    assert api.app.test_client().get("/readyz").status_code == 503
    database.upgrade()
    assert database.revision() == database.head()
    assert api.app.test_client().get("/readyz").status_code == 200


def test_a_key_published_since_is_found_when_the_clock_is_turned(api: Api) -> None:
    """RFC 9111 section 4.2: a key set that is older than its max-age is fetched again, even right after a fetch."""
    assert api.get(token=token()).status_code == 200
    api.server.keys.append(jwk(EC2, "new", "ES256"))
    assert api.get(token=token(EC2, {"kid": "another"})).status_code == 401, "fetches the key set"
    api.server.keys[-1] = jwk(EC2, "newer", "ES256")
    later = token(EC2, {"kid": "newer"}, exp=int(clock.now()) + 900)
    assert api.get(token=later).status_code == 401, "fetched a moment ago"
    clock.set_offset(301)
    assert api.get(token=later).status_code == 200


def test_a_browser_is_told_what_this_is_and_every_endpoint_with_its_scope(api: Api) -> None:
    """The first page is HTML for browsers; programs that accept any type get JSON."""
    chrome = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    page = api.app.test_client().get("/", headers={"Accept": chrome})
    assert page.status_code == 200
    assert page.mimetype == "text/html"
    protected = [
        rule for rule in api.app.url_map.iter_rules() if hasattr(api.app.view_functions[rule.endpoint], "scope")
    ]
    assert len(protected) == 4
    for rule in protected:
        assert rule.rule.replace("<", "{").replace(">", "}") in page.text
        assert api.app.view_functions[rule.endpoint].scope in page.text  # type: ignore[attr-defined]
    assert "/.well-known/oauth-protected-resource" in page.text
    assert API in page.text
    assert ISSUER in page.text
    assert api.app.test_client().get("/", headers={"Accept": "*/*"}).json["error"] == "not_found"  # type: ignore[index]
    missing = api.app.test_client().get("/nothing", headers={"Accept": chrome})
    assert missing.status_code == 404
    assert 'aria-label="Main"' in missing.text
    assert ">Endpoints</a>" in missing.text, "an error page keeps the service's navigation"
