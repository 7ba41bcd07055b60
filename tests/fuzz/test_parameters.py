"""Responses follow the rules for any parameters (Hypothesis, with Flask's test clients)."""

from __future__ import annotations

import json
import re
import urllib.parse
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from rolecall_auth.models import Model, user
from support.auth_server import (
    CALLBACK,
    INVOICES,
    ISSUER,
    PASSWORDS,
    SECRET,
    TALLY,
    VERIFIER,
    Browser,
    Server,
    authorize_url,
    basic,
    csrf_token,
    query,
)
from support.fuzz.effort import examples
from support.fuzz.forms import ANYTHING, NATIVE, any_text, body_of, forms, in_address, look_at, parsed, values
from support.tally import API, INVOICE, METADATA, TOKENS, Tally

pytestmark = pytest.mark.usefixtures("cheap_passwords")

REGISTERED = re.compile(rf"{re.escape(CALLBACK)}|http://127\.0\.0\.1(:\d+)?/callback")
PORT = re.compile(r"http://127\.0\.0\.1(:\d{1,5})?/callback")
CLIENTS = {"tally", "native"}
ERRORS = {
    "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
    "invalid_scope",
    "invalid_target",
}  # fmt: skip
AUTHORIZE_ERRORS = ERRORS - {"invalid_client", "invalid_grant", "unsupported_grant_type"} | {
    "access_denied", "unsupported_response_type",
}  # fmt: skip
DESCRIPTION = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]+")

GOOD = query(authorize_url())


def test_authorize(open_server: Server) -> None:
    """RFC 6749 sections 3.1 and 4.1.2.1, RFC 9207 section 2, RFC 9700 section 4.1."""

    @settings(max_examples=examples(40))
    @given(
        form=forms(GOOD) | forms({**GOOD, "client_id": "native", "redirect_uri": "http://127.0.0.1:4711/callback"}),
        method=st.sampled_from(["GET", "GET", "POST"]),
        signed_in=st.booleans(),
    )
    def check(form: bytes, method: str, signed_in: bool) -> None:
        browser = _browser(open_server, signed_in)
        sent = in_address(form) if method == "GET" else body_of(form)
        answer = browser.client.open("/authorize", method=method, **sent)
        look_at(answer)
        assert answer.status_code in {303, 400, 413}
        named = parsed(form)
        if answer.status_code != 303:
            assert "Location" not in answer.headers
            return
        clients, uris, states = (named.get(name, []) for name in ("client_id", "redirect_uri", "state"))
        if "interaction" not in named or method == "POST":
            assert len(clients) == 1, "a bad client_id never redirects"
            assert clients[0] in CLIENTS
            assert len(uris) <= 1, "a bad redirect_uri never redirects"
            assert all(_is_registered(clients[0], uri) for uri in uris)
        where = answer.location
        if where.startswith("/"):
            assert re.fullmatch(r"/(sign-in|consent|authorize)\?interaction=[\w\-]+", where)
            return
        base, _, _ = where.partition("?")
        expected = uris[0] if uris else CALLBACK if clients == ["tally"] else NATIVE
        assert base == expected
        got = urllib.parse.parse_qs(urllib.parse.urlsplit(where).query, keep_blank_values=True)
        assert got["iss"] == [ISSUER]
        assert all(len(each) == 1 for each in got.values())
        if "error" in got:
            assert got["error"][0] in AUTHORIZE_ERRORS
            assert DESCRIPTION.fullmatch(got["error_description"][0])
            assert "code" not in got
        if "state" in got:
            # bytes that are not valid UTF-8 may be decoded differently
            assert states == got["state"] or "\ufffd" in states[0]
        else:
            assert len(states) != 1 or not (states[0].isascii() and states[0].isprintable()), "the state is lost"

    check()


def _is_registered(client: str, uri: str) -> bool:
    return uri == CALLBACK if client == "tally" else PORT.fullmatch(uri) is not None


def _browser(server: Server, signed_in: bool) -> Browser:
    browser = server.browser()
    if signed_in:
        browser.sign_in()
    return browser


AUTHORIZATIONS = st.one_of(
    st.sampled_from([TALLY, TALLY, TALLY, INVOICES, {}, basic("native", "x"), basic("tally", SECRET + "x"),
    basic("tally", "")]),
    st.sampled_from(
        ["", " ", "Basic", "Basic ", "Basic =", "basic " + TALLY["Authorization"][6:], "Bearer x", "Basic é",
        "Basic AAAA", "\x7f"]
    ).map(lambda value: {"Authorization": value}),
    any_text().map(lambda text: basic("tally", text.encode("utf-8", "replace").decode())),
)  # fmt: skip


class Kept:
    """A server with valid codes and tokens, and with snapshots of its state."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.renew()

    def renew(self) -> None:
        self.code = self.server.code()
        self.tokens = self.server.tokens()

    def snapshot(self) -> Any:
        store = self.server.services.store.client
        throttled = (b"auth:throttle", b"auth:revoked-run-id")
        redis = {key: store.dump(key) for key in store.scan_iter(count=1000) if not key.startswith(throttled)}
        with self.server.services.database.read() as session:
            rows = {
                table.name: sorted(map(repr, session.execute(sa.select(table))))
                for table in Model.metadata.sorted_tables
            }
        return redis, rows


@pytest.fixture
def kept(open_server: Server) -> Kept:
    return Kept(open_server)


CODE, REFRESH_TOKEN, ACCESS_TOKEN = "{code}", "{refresh_token}", "{access_token}"
BACK_CHANNEL = [
    ("/token", {"grant_type": "authorization_code", "code": CODE, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}),
    ("/token", {"grant_type": "refresh_token", "refresh_token": REFRESH_TOKEN, "scope": "invoices:read"}),
    ("/introspect", {"token": ACCESS_TOKEN, "token_type_hint": "access_token"}),
    ("/revoke", {"token": ACCESS_TOKEN, "token_type_hint": "access_token"}),
    ("/revoke", {"token": REFRESH_TOKEN}),
]


@pytest.mark.parametrize(
    ("path", "good"), BACK_CHANNEL, ids=["code", "refresh", "introspect", "revoke", "revoke-family"]
)
def test_back_channel(kept: Kept, path: str, good: dict[str, str]) -> None:
    """RFC 6749 sections 3.2 and 5.2, RFC 7662 section 2, RFC 7009 section 2: a refused request changes no state."""

    @settings(max_examples=examples(20, 5))
    @given(
        form=forms(good, least=1),
        authorization=AUTHORIZATIONS,
        content_type=st.sampled_from(
            ["application/x-www-form-urlencoded"] * 6
            + [
                "application/json",
                "",
                "multipart/form-data; boundary=x",
                "application/x-www-form-urlencoded; charset=utf-16",
                "é",
            ]
        ),
        address=st.sampled_from([b""] * 8 + [b"client_secret=x", b"%ff=%00", b"token=x"]),
    )
    def check(form: bytes, authorization: dict[str, str], content_type: str, address: bytes) -> None:
        for name, value in (("code", kept.code), *kept.tokens.items()):
            form = form.replace(urllib.parse.quote_plus(f"{{{name}}}").encode(), str(value).encode())
        headers = INVOICES if path == "/introspect" and authorization == TALLY else authorization
        before = kept.snapshot()
        answer = kept.server.app.test_client().post(
            path,
            headers=headers,
            **in_address(address),
            **body_of(form, content_type),
        )
        look_at(answer)
        assert answer.headers["Cache-Control"] == "no-store"
        if answer.status_code == 200:
            if path != "/introspect":
                kept.renew()
            else:
                assert kept.snapshot() == before
            return
        assert kept.snapshot() == before, "a refused request changed the state"
        assert answer.status_code in {400, 401, 413, 415}
        assert answer.mimetype == "application/json"
        body = json.loads(answer.data)
        assert body.keys() <= {"error", "error_description", "error_uri"}
        assert body["error"] in ERRORS
        assert DESCRIPTION.fullmatch(body["error_description"])
        assert (body["error"] == "invalid_client") == (answer.status_code == 401)
        assert ("WWW-Authenticate" in answer.headers) == (answer.status_code == 401)
        for secret in (kept.code, kept.tokens["access_token"], kept.tokens["refresh_token"], SECRET, VERIFIER):
            assert secret not in answer.text

    check()


PAGES = [
    ("/sign-in", {"username": "alice", "password": PASSWORDS["alice"]}),
    ("/sign-up", {"username": "carol", "password": "a long password"}),
    ("/consent", {"decision": "allow"}),
    ("/apps/disconnect", {"client_id": "tally"}),
    ("/sign-out", {}),
]


@pytest.mark.parametrize(("path", "good"), PAGES, ids=[path for path, _ in PAGES])
def test_pages(open_server: Server, path: str, good: dict[str, str]) -> None:
    """RFC 6749 section 10: pages escape all input, never redirect to other sites, and only act for the current user."""

    @settings(max_examples=examples(20, 4))
    @given(
        form=forms(good),
        token=st.sampled_from(["right", "right", "right", "none", "wrong"]),
        interaction=st.one_of(st.just("right"), st.just("none"), values()),
        method=st.sampled_from(["POST", "POST", "GET"]),
    )
    def check(form: bytes, token: str, interaction: str | bytes, method: str) -> None:
        browser = _browser(open_server, path not in {"/sign-in", "/sign-up"})
        waiting = query(browser.request(client_id="native", redirect_uri=NATIVE).location)["interaction"]
        address = b"interaction=" + interaction if isinstance(interaction, bytes) else b""
        if interaction == "right":
            address = f"interaction={waiting}".encode()
        if token == "right":
            form += (
                b"&csrf_token=" + csrf_token(browser.client.get("/sign-out" if "sign-" not in path else path)).encode()
            )
        elif token == "wrong":
            form += "&csrf_token=é.%00.\u202e".encode()
        sent = body_of(form) if method == "POST" else {}
        answer = browser.client.open(path, method=method, **in_address(address), **sent)
        look_at(answer)
        assert answer.status_code in {200, 303, 400, 403, 405, 409, 413}
        if "Location" in answer.headers:
            assert re.fullmatch(r"/|/(sign-in|apps|consent|authorize)(\?interaction=[\w\-]+)?", answer.location)
        if path == "/sign-in" and method == "POST" and answer.status_code == 303:
            assert token == "right"
            named = parsed(form)
            assert user.normal_username(named["username"][0]) == "alice"
            assert named["password"][0] == PASSWORDS["alice"]
        if token != "right" and method == "POST":
            assert answer.status_code in {400, 413}

    check()


def test_api(api: Any) -> None:
    """RFC 6750 section 3: a request without a valid token gets a challenge."""

    @settings(max_examples=examples(20))
    @given(
        path=st.one_of(values(), st.sampled_from([b"i1", b"i2/payment", b"%2e%2e", b"i1/", b"/", b"i1%00"])),
        authorization=st.one_of(
            st.sampled_from(["", "Bearer", "Bearer ", "bearer a.b.c", "Basic x", "Bearer a, Bearer b", "Bearer é",
            "Bearer " + "x" * 9000]),
            any_text().map(lambda text: "Bearer " + text.encode("utf-8", "replace").decode("latin-1")),
            st.binary(max_size=60).map(lambda data: "Bearer " + data.hex() + ".e30.AA"),
        ).filter(lambda value: "\n" not in value and "\r" not in value),
        how=st.sampled_from(["jwt", "introspection", "é"]),
        method=st.sampled_from(["GET", "GET", "POST", "PUT", "HEAD", "OPTIONS"]),
    )  # fmt: skip
    def check(path: bytes, authorization: str, how: str, method: str) -> None:
        api.server.introspection = {"active": False}
        answer = api.app.test_client().open(
            "/invoices/x",
            method=method,
            headers={"Authorization": authorization},
            environ_overrides={
                "PATH_INFO": "/invoices/" + urllib.parse.unquote_to_bytes(path).decode("latin-1"),
                "rolecall.validator": how,
            },
        )
        look_at(answer)
        assert answer.status_code in {200, 400, 401, 404, 405, 308}
        if answer.status_code == 401:
            assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
        if answer.status_code == 200:
            assert method == "OPTIONS"

    check()


def test_api_and_what_introspection_may_answer(api: Any) -> None:
    """RFC 7662 section 2.2: an invalid introspection response does not give access."""

    @settings(max_examples=examples(20))
    @given(
        changes=st.dictionaries(
            st.sampled_from(["active", "aud", "iss", "sub", "exp", "iat", "nbf", "client_id", "scope", "jti"]), ANYTHING
        ),
        whole=ANYTHING,
    )
    def check(changes: dict[str, Any], whole: Any) -> None:
        from support.invoices_api import claims

        for answer in ({**claims(), "active": True, **changes}, whole):
            api.server.introspection = answer
            got = api.get(token="a.b.c", how="introspection")
            assert got.status_code in {200, 401, 403, 503}, got.text
            if got.status_code == 200:
                assert answer["active"] is True
                assert API in answer["aud"]

    check()


def test_client(tally: Tally) -> None:
    """RFC 6749 section 4.1.2, RFC 9207 section 2.4: only a response to the browser's own request is accepted."""

    @settings(max_examples=examples(26))
    @given(
        form=forms({"code": "c0de", "state": "{state}", "iss": "http://auth.test"}) | forms({"error": "access_denied",
        "state": "{state}"}),
        path=st.sampled_from(["/callback", "/callback", "/callback", "/invoices", "/", "/nowhere"]),
    )  # fmt: skip
    def check(form: bytes, path: str) -> None:
        browser = tally.browser()
        state = browser.begin()["state"]
        form = form.replace(b"%7Bstate%7D", state.encode())
        answer = browser.client.get(path, **in_address(form))
        # Tally returns 502 for an invalid authorization response, which it attributes to the server
        assert answer.status_code < 500 or answer.status_code == 502, answer.text
        assert "<fuzz" not in answer.text
        assert "X-Injected" not in answer.headers
        if path == "/callback" and answer.status_code == 303:
            named = parsed(form)
            assert (named["state"], named["iss"]) == ([state], ["http://auth.test"])
            assert answer.location == "/invoices"

    check()


def test_client_and_what_the_servers_may_answer(tally: Tally) -> None:
    """RFC 6749 section 5.1: an invalid response leads to an error page, and never to a 500."""

    @settings(max_examples=examples(20))
    @given(
        where=st.sampled_from([METADATA["token_endpoint"], METADATA["revocation_endpoint"], f"{API}/invoices"]),
        changes=st.dictionaries(
            st.sampled_from(["access_token", "token_type", "expires_in", "scope", "refresh_token", "error",
            "invoices"]),
            ANYTHING
        ),
        status=st.sampled_from([200, 200, 200, 400, 401, 403, 500, 503, 302]),
    )  # fmt: skip
    def check(where: str, changes: dict[str, Any], status: int) -> None:
        browser = tally.browser()
        browser.connect()
        before = dict(tally.http.answers)
        tally.http.answers[where] = (status, {**(TOKENS if "token" in where else {}), **changes}, {})
        try:
            for path in ("/refresh", "/revoke"):
                page = browser.client.get("/invoices")
                token = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
                form = {"csrf_token": token[1] if token else ""}
                for answer in (page, browser.client.post(path, data=form), browser.client.get("/")):
                    assert answer.status_code != 500, answer.text
                    assert "<fuzz" not in answer.text
        finally:
            tally.http.answers.update(before)

    check()


def test_client_and_what_an_invoice_may_be(tally: Tally) -> None:
    """An invalid response of the API is not an internal error of Tally, so it never causes a 500."""
    browser = tally.browser()
    browser.connect()

    @settings(max_examples=examples(20))
    @given(invoice=st.dictionaries(st.sampled_from(sorted(INVOICE)), ANYTHING, min_size=1, max_size=3) | ANYTHING)
    def check(invoice: Any) -> None:
        good = {**INVOICE, **invoice} if isinstance(invoice, dict) else invoice
        tally.http.answers[f"{API}/invoices"] = (200, {"invoices": [good]}, {})
        assert browser.client.get("/invoices").status_code != 500

    check()
