"""Clients register themselves, and manage what they registered (RFC 7591, RFC 7592, OpenID Connect Registration)."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import RSAKey

from rolecall import clock
from rolecall.storage import digest
from rolecall.vocabulary import OPENID_SCOPES
from rolecall_auth.clients.metadata import MEMBERS
from rolecall_auth.models.client import Client
from rolecall_auth.models.logo import Logo
from rolecall_auth.models.revocation import Revocations
from rolecall_auth.sweep import sweep
from support.auth_server import Server, basic, make_server, make_settings, query
from support.openid import verified
from support.registration import KEYS, MINIMAL, PIXEL, URI, Web, manage, register, registered, with_web

pytestmark = pytest.mark.database

DAY = 86400


def _test_id(value: Any) -> str | None:
    """Return a short id that is the same in every process; pytest would number a value that is not a string."""
    return value[:30] if isinstance(value, str) else None


def test_a_registered_client_signs_people_in(server: Server) -> None:
    """RFC 7591 section 3.2.1; the setting determines the profile."""
    client = registered(server, client_name="A new app", grant_types=["authorization_code", "refresh_token"])
    assert client["client_secret_expires_at"] == 0
    assert client["client_id_issued_at"] <= clock.now()
    assert client["token_endpoint_auth_method"] == "client_secret_basic"
    assert client["id_token_signed_response_alg"] == "RS256"
    assert "openid" in client["scope"].split()
    mine = basic(client["client_id"], client["client_secret"])
    code = server.code(client_id=client["client_id"], redirect_uri=URI, scope="openid profile", nonce="n")
    answer = server.redeem(code, mine, redirect_uri=URI)
    assert answer.status_code == 200, answer.text
    assert verified(server, answer.json["id_token"], client["client_id"])["nonce"] == "n"
    with server.services.database.read() as session:
        row = session.get_one(Client, client["client_id"])
        kept = json.dumps([row.secret_hash, row.registration_token_hash])
    assert client["client_secret"] not in kept
    assert client["registration_access_token"] not in kept


@pytest.mark.parametrize("method", ["none", "private_key_jwt"])
def test_who_needs_no_secret_gets_none(server: Server, method: str) -> None:
    client = registered(server, token_endpoint_auth_method=method, jwks=KEYS)
    assert not {"client_secret", "client_secret_expires_at"} & client.keys()


def test_a_secret_that_signs_is_sealed(server: Server) -> None:
    client = registered(server, token_endpoint_auth_method="client_secret_jwt")
    with server.services.database.read() as session:
        row = session.get_one(Client, client["client_id"])
    assert row.secret_hash is None
    assert server.services.settings.data_key.decrypt(row.secret_sealed or b"").decode() == client["client_secret"]


WRONG: list[tuple[str, Any]] = [
    ("redirect_uris", None), ("redirect_uris", []), ("redirect_uris", "https://a.example/cb"), ("redirect_uris", [5]),
    ("redirect_uris", ["https://a.example/cb#x"]), ("redirect_uris", ["javascript:alert(1)"]), ("redirect_uris", [""]),
    ("redirect_uris", ["http://a.example/cb"]), ("redirect_uris", ["data:text/html,x"]), ("redirect_uris", [["x"]]),
    ("redirect_uris", [URI, URI + "?state=1"]), ("redirect_uris", [URI + "?s%74ate"]),
    ("redirect_uris", [URI + "?a[]"]), ("redirect_uris", [URI.replace("https", "HTTPS")]),
    ("redirect_uris", ["com.example.app:/cb"]), ("redirect_uris", {"a": 1}), ("redirect_uris", [URI] * 21),
    ("scope", 5), ("scope", "unheard-of"), ("scope", ["openid"]), ("client_name", 5), ("client_name", "x" * 101),
    ("client_name", "a\nb"), ("grant_types", "authorization_code"), ("grant_types", ["password"]),
    ("grant_types", ["refresh_token"]), ("response_types", ["token"]), ("response_types", [None]),
    ("token_endpoint_auth_method", "tls_client_auth"), ("token_endpoint_auth_method", 1),
    ("token_endpoint_auth_methods", []), ("token_endpoint_auth_methods", "none"), ("claims_in_id_token", "true"),
    ("token_endpoint_auth_method", "private_key_jwt"), ("logo_uri", "http://a.example/x.png"), ("logo_uri", 5),
    ("policy_uri", "javascript:x"), ("tos_uri", "//x"), ("client_uri", "https://u:p@a.example/"), ("jwks", []),
    ("jwks", {"keys": []}), ("jwks", {"keys": [RSAKey.generate_key(2048).as_dict(private=True)]}),
    ("jwks", {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}), ("jwks_uri", "ftp://a.example/"), ("contacts", "me"),
    ("application_type", "browser"), ("subject_type", "both"), ("sector_identifier_uri", "x"),
    ("id_token_signed_response_alg", "none"), ("id_token_signed_response_alg", "HS256"),
    ("userinfo_signed_response_alg", "none"), ("request_object_signing_alg", "none"),
    ("request_object_signing_alg", "RS256"), ("token_endpoint_auth_signing_alg", "RS256"),
    ("default_max_age", "5"), ("default_max_age", -1), ("default_max_age", 1.5), ("default_max_age", True),
    ("require_auth_time", "yes"), ("default_acr_values", "x"), ("initiate_login_uri", "http://a.example/"),
    ("request_uris", ["http://a.example/"]), ("request_uris", [f"https://a.example/{number}" for number in range(11)]),
    ("software_id", "x" * 501), ("software_version", 1.0), ("contacts", ["me"] * 21), ("jwks_uri", "https:///keys"),
    ("id_token_encrypted_response_alg", "RSA-OAEP"), ("request_object_encryption_alg", "RSA-OAEP"),
]  # fmt: skip


def test_no_member_is_without_a_wrong_value() -> None:
    assert {name for name, _ in WRONG} >= {member.name for member in MEMBERS}


RULES: list[tuple[str, Any, str]] = [
    ("redirect_uris", [], "A redirect URI is required."),
    ("redirect_uris", "https://a.example/cb", "The member redirect_uris is not a list of at most 20 values."),
    ("redirect_uris", [URI, 5], "The member redirect_uris is a list with a value that is not a string."),
    ("redirect_uris", [URI, "http://a.example/"], "A redirect URI must use https; http is allowed only for loopback."),
    ("redirect_uris", [URI + "#x"], "A redirect URI must be an ASCII URI without a fragment, quotes, or spaces."),
    ("scope", "unheard-of", "The member scope has no scope that this client may request. The metadata lists all "
     "scopes in scopes_supported. Clients with pairwise subjects may only register OpenID Connect scopes, and clients "
     "without users may not register them."),
    ("client_name", "x" * 101, "The member client_name is longer than 100 characters."),
    ("client_name", "a\nb", "The member client_name is a string with control characters."),
    ("subject_type", "both", "The member subject_type is not one of public, pairwise."),
    ("id_token_signed_response_alg", "none", "The member id_token_signed_response_alg is not one of RS256, ES256, "
     "PS256, EdDSA."),
    ("logo_uri", "http://a.example/x.png", "The member logo_uri is not https, or lacks a host."),
    ("jwks", {"keys": 5}, "The member jwks is not a JWK Set, an object with a list of keys."),
    ("default_max_age", 1.5, "The member default_max_age is not a whole number of seconds from 0 to 315360000."),
    ("require_auth_time", 1, "The member require_auth_time is not true or false."),
    ("token_endpoint_auth_signing_alg", "RS256", "The token_endpoint_auth_signing_alg is not an algorithm of the "
     "token_endpoint_auth_method."),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "rule"), RULES, ids=_test_id)
def test_the_answer_names_the_rule_and_nothing_that_was_sent(server: Server, name: str, value: Any, rule: str) -> None:
    """RFC 7591 section 3.2.2: `error_description` is for the developer."""
    assert register(server, MINIMAL | {name: value}).json["error_description"] == rule


@pytest.mark.parametrize(("name", "value"), WRONG, ids=_test_id)
def test_a_wrong_member_is_refused_with_the_right_error(server: Server, name: str, value: Any) -> None:
    """RFC 7591 section 3.2.2. Members that contradict each other: RFC 7591 section 2.1."""
    answer = register(server, MINIMAL | {name: value})
    assert answer.status_code == 400
    assert answer.json["error"] == ("invalid_redirect_uri" if name == "redirect_uris" else "invalid_client_metadata")
    with server.services.database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Client)) == 1


def test_a_native_client_may_have_a_scheme_of_its_own(server: Server) -> None:
    """RFC 8252 section 7.1."""
    uris = ["com.example.app:/callback", "http://127.0.0.1/cb", "http://[::1]/cb"]
    client = registered(server, redirect_uris=uris, application_type="native", token_endpoint_auth_method="none")
    assert client["redirect_uris"] == uris


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        "5",
        "null",
        "{",
        '"x"',
        "[" * 5000,
        "",
        "{} {}",
        '{"a": NaN',
        f'{{"redirect_uris": ["{URI}"], "redirect_uris": ["https://b.example/"]}}',
    ],
)
def test_what_is_no_object_is_refused(server: Server, body: str) -> None:
    """RFC 7591 section 3.1."""
    answer = server.app.test_client().post("/register", data=body, content_type="application/json")
    assert (answer.status_code, answer.json["error"]) == (400, "invalid_client_metadata")
    answer = server.app.test_client().post("/register", data=json.dumps(MINIMAL), content_type="text/plain")
    assert (answer.status_code, answer.json["error"]) == (400, "invalid_client_metadata")


def test_both_key_sets_or_several_hosts_without_a_sector_are_refused(server: Server) -> None:
    assert register(server, jwks=KEYS, jwks_uri="https://a.example/jwks").status_code == 400
    hosts = {"redirect_uris": ["https://a.example/cb", "https://b.example/cb"]}
    assert register(server, **hosts).status_code == 201
    assert register(server, **hosts, subject_type="pairwise").status_code == 400


@pytest.mark.parametrize(
    "uris",
    [
        ["com.example.one:/cb"],
        ["com.example.one:/cb", "org.other.two:/cb"],
        ["evil.app://victim.example/cb"],
        ["http://127.0.0.1/cb"],
        ["http://localhost/cb"],
        ["https://localhost/cb"],
        [URI, "evil.app://rp.test/cb"],
    ],
)
def test_a_sector_is_a_host_that_is_somebodys(tmp_path: Path, redis_url: str, uris: list[str]) -> None:
    """OpenID Connect Core section 8.1: other redirect URIs give no sector, unless a sector document lists them."""
    server = make_server(make_settings(tmp_path, redis_url, lab=False, issuer="https://op.example"))
    asked = {"redirect_uris": uris, "application_type": "native", "scope": "openid"}
    answer = register(server, **asked, subject_type="pairwise")
    assert (answer.status_code, answer.json["error"]) == (400, "invalid_client_metadata")
    assert register(server, **asked).status_code == 201
    assert (
        register(server, MINIMAL | {"subject_type": "pairwise", "redirect_uris": ["https://rp.example/"]}).json[
            "subject_type"
        ]
        == "pairwise"
    )
    with_web(server, Web(uris=(json.dumps(uris).encode(), "application/json")))
    told = registered(server, **asked, subject_type="pairwise", sector_identifier_uri="https://s.example/uris")
    assert told["redirect_uris"] == uris


def test_pairwise_subjects_go_with_what_is_about_the_person_alone(server: Server) -> None:
    """OpenID Connect Core section 8.1: an API would have to know the account."""
    assert set(registered(server, subject_type="pairwise")["scope"].split()) == set(OPENID_SCOPES)
    assert registered(server, subject_type="pairwise", scope="openid invoices:read")["scope"] == "openid"
    answer = register(server, subject_type="pairwise", scope="invoices:read")
    assert (answer.status_code, answer.json["error"]) == (400, "invalid_client_metadata")
    client = registered(server, scope="openid invoices:read")
    changed = manage(server, client, "PUT", subject_type="pairwise", scope="openid invoices:read")
    assert (changed.status_code, changed.json["scope"]) == (200, "openid")


def test_a_sector_names_every_redirect_uri(server: Server) -> None:
    """OpenID Connect Registration section 5. OpenID Connect Core section 8.1."""
    hosts = ["https://a.example/cb", "https://b.example/cb"]
    asked = {"redirect_uris": hosts, "subject_type": "pairwise", "sector_identifier_uri": "https://s.example/uris"}
    for body, status in ((hosts, 201), (hosts[:1], 400), ({"a": 1}, 400), ("x", 400)):
        with_web(server, Web(uris=(json.dumps(body).encode(), "application/json")))
        assert register(server, **asked).status_code == status
    with_web(server, Web())
    assert register(server, **asked).status_code == 400


def test_unknown_members_are_ignored(server: Server) -> None:
    """RFC 7591 section 2."""
    client = registered(server, unheard_of={"x": [1]}, **{"client_name#de": "Name"})
    assert not {"unheard_of", "client_name#de"} & client.keys()
    assert client["client_name"] == "rp.test"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=10), inside, max_size=4),
    max_leaves=12,
)
NAMES = ("redirect_uris", "jwks", "scope", "grant_types", "contacts", "default_max_age", "request_uris", "logo_uri")


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from(NAMES), json_values), st.booleans())
def test_no_json_is_an_error_of_the_servers(server: Server, document: dict[str, Any], with_uri: bool) -> None:
    with_web(server, Web())
    answer = register(server, ({"redirect_uris": [URI]} if with_uri else {}) | document)
    assert answer.status_code in {201, 400}, answer.text


def initial_token(server: Server, *options: str) -> str:
    result = server.app.test_cli_runner().invoke(args=["registration-token", *options])
    assert result.exit_code == 0, result.output
    return result.output.strip()


@pytest.fixture
def guarded(tmp_path: Path, redis_url: str) -> Server:
    changes = {"registration": "token", "registration_profile": "oauth2.1"}
    return make_server(make_settings(tmp_path, redis_url, **changes))


def test_in_production_an_initial_access_token_is_needed_and_taken_once(guarded: Server) -> None:
    """RFC 7591 section 3: of 32 parallel requests with it, one succeeds; a refused attempt does not use it up."""
    for wrong in (None, "wrong"):
        answer = register(guarded, token=wrong)
        assert (answer.status_code, answer.json["error"]) == (401, "invalid_token")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    token = initial_token(guarded, "--profile", "openid")
    assert register(guarded, {"redirect_uris": []}, token).status_code == 400
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda _: register(guarded, token=token), range(32)))
    assert sorted(answer.status_code for answer in answers) == [201] + [401] * 31
    [client] = [answer.json["client_id"] for answer in answers if answer.status_code == 201]
    with guarded.services.database.read() as session:
        assert session.get_one(Client, client).profile == "openid"
    late = initial_token(guarded, "--days", "1")
    clock.set_offset(DAY + 1)
    assert register(guarded, token=late).status_code == 401
    clock.set_offset(3 * DAY)
    assert sweep(guarded.services)["initial_access_token"] == 1


@pytest.mark.parametrize("header", ["", " ", "Basic eDp5", "Negotiate x", "Bearer x,Bearer x"])
def test_headers_without_a_token_for_registration(server: Server, guarded: Server, header: str) -> None:
    """RFC 6750 section 3.1: open registration ignores other schemes; a repeated header is an invalid request."""
    with_header = {"json": MINIMAL, "headers": {"Authorization": header}}
    is_repeated = "," in header
    assert server.app.test_client().post("/register", **with_header).status_code == (400 if is_repeated else 201)
    refused = guarded.app.test_client().post("/register", **with_header)
    assert (refused.status_code, refused.json["error"]) == (
        (400, "invalid_request") if is_repeated else (401, "invalid_token")
    )
    managed = guarded.app.test_client().get("/register/unknown", headers=with_header["headers"])
    assert managed.status_code == refused.status_code
    if not is_repeated:
        assert refused.headers["WWW-Authenticate"] == managed.headers["WWW-Authenticate"] == 'Bearer realm="register"'


def test_where_it_is_closed_nobody_registers_and_the_metadata_say_nothing(tmp_path: Path, redis_url: str) -> None:
    server = make_server(make_settings(tmp_path, redis_url, registration="closed"))
    assert (register(server).status_code, register(server).json["error"]) == (403, "access_denied")
    metadata = server.app.test_client().get("/.well-known/openid-configuration").json
    assert "registration_endpoint" not in metadata


def test_a_registration_is_read_replaced_and_ended(server: Server) -> None:
    """RFC 7592 sections 2.1, 2.2 and 2.3. The response: RFC 7592 section 3."""
    client = registered(server, client_name="Before", contacts=["me@rp.test"], policy_uri="https://rp.test/policy")
    read = manage(server, client)
    assert read.status_code == 200
    assert read.json == {
        name: value for name, value in client.items() if name not in {"client_secret", "client_secret_expires_at"}
    }, "the response has the token again (RFC 7592 section 3)"
    changed = manage(server, client, "PUT", client_name="After", client_secret=client["client_secret"])
    assert changed.status_code == 200, changed.text
    assert changed.json["client_name"] == "After"
    assert not {"contacts", "policy_uri"} & changed.json.keys(), "omitted members are reset"
    mine = basic(client["client_id"], client["client_secret"])
    code = server.code(client_id=client["client_id"], redirect_uri=URI, scope="openid")
    given = server.redeem(code, mine, redirect_uri=URI).json
    bearer = {"Authorization": f"Bearer {given['access_token']}"}
    assert server.app.test_client().get("/userinfo", headers=bearer).status_code == 200
    ended = manage(server, client, "DELETE")
    assert (ended.status_code, ended.data) == (204, b"")
    assert server.app.test_client().get("/userinfo", headers=bearer).status_code == 401
    assert server.post("/revoke", mine, token="x").status_code == 401
    for method in ("GET", "PUT", "DELETE"):
        assert manage(server, client, method).status_code == 401
    clock.set_offset(2 * DAY)
    assert sweep(server.services)["client"] == 1


def test_an_update_cannot_change_what_the_server_chose(server: Server) -> None:
    client = registered(server)
    for wrong in (
        {"client_id": "another"},
        {"client_id": None},
        {"client_secret": "mine"},
        {"client_secret": 5},
        {"registration_access_token": "x"},
        {"client_id_issued_at": 1},
        {"token_endpoint_auth_method": "client_secret_post"},
        {"redirect_uris": ["http://evil.example/"]},
    ):
        assert manage(server, client, "PUT", **wrong).status_code == 400, wrong
    assert manage(server, client).json["redirect_uris"] == [URI]


def test_updates_at_once_leave_one_of_them_whole(server: Server) -> None:
    """RFC 7592 section 2.2: never a mixture of two."""
    client = registered(server)
    documents: list[dict[str, Any]] = [
        {"jwks": KEYS, "client_name": "One", "logo_uri": "https://rp.test/one.png"},
        {"jwks_uri": "https://rp.test/jwks", "tos_uri": "https://rp.test/", "logo_uri": "https://rp.test/two.png"},
    ]
    with_web(server, Web(rp=(PIXEL, "image/png")))
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            assert manage(server, client, "PUT").status_code == 200
            answers = list(pool.map(lambda number: manage(server, client, "PUT", **documents[number % 2]), range(8)))
            assert [answer.status_code for answer in answers] == [200] * 8
            kept = manage(server, client).json
            assert ("jwks" in kept) != ("jwks_uri" in kept), "a mixture"
            assert kept in [answer.json for answer in answers]


def test_an_end_that_failed_half_way_can_be_repeated(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 7592 section 2.3: until everything has ended, its token can repeat the deletion, and do nothing else."""
    client = registered(server)
    mine = basic(client["client_id"], client["client_secret"])
    code = server.code(client_id=client["client_id"], redirect_uri=URI, scope="openid")
    token = server.redeem(code, mine, redirect_uri=URI).json["access_token"]

    def away(*_: Any) -> int:
        raise sa.exc.OperationalError("away", {}, Exception("away"))

    with monkeypatch.context() as patched:
        patched.setattr(Revocations, "end", away)
        assert manage(server, client, "DELETE").status_code == 503
    for method in ("GET", "PUT"):
        assert manage(server, client, method).status_code == 401
    assert manage(server, client, "DELETE").status_code == 204
    bearer = {"Authorization": f"Bearer {token}"}
    assert server.app.test_client().get("/userinfo", headers=bearer).status_code == 401
    assert manage(server, client, "DELETE").status_code == 401


def test_only_its_own_token_opens_a_registration(server: Server) -> None:
    one, two = registered(server), registered(server)
    seeded = {"client_id": "tally", "registration_client_uri": server.services.settings.issuer + "/register/tally"}
    for client, token in ((one, two["registration_access_token"]), (seeded, "x"), (seeded, ""), (one, digest("x"))):
        for method in ("GET", "PUT", "DELETE"):
            answer = manage(server, client, method, token or " ")
            assert (answer.status_code, answer.json["error"]) == (401, "invalid_token")
            assert "Bearer" in answer.headers["WWW-Authenticate"]
    assert server.app.test_client().get("/register/%00").status_code == 401
    server.app.test_cli_runner().invoke(args=["disable-client", two["client_id"]])
    for method in ("GET", "PUT"):
        assert manage(server, two, method).status_code == 401


def consent_page(server: Server, client: dict[str, Any]) -> str:
    browser = server.browser()
    browser.sign_in()
    response = browser.request(client_id=client["client_id"], redirect_uri=URI, scope="openid", nonce="n")
    return browser.client.get(response.location).text


def test_logo_policy_and_terms_stand_on_the_consent_page(server: Server) -> None:
    """RFC 7591 section 2: the server hosts the logo, so the host of the original does not learn who opens the page.

    The warning that the client registered itself: RFC 7591 section 5.
    """
    web = with_web(server, Web(logo=(PIXEL, "image/png; x=y")))
    more = {"policy_uri": "https://rp.test/policy", "tos_uri": "https://rp.test/terms"}
    client = registered(server, logo_uri="https://rp.test/logo.png", **more)
    path = f"/logos/{client['client_id']}"
    for _ in range(2):
        page = consent_page(server, client)
        assert f'src="{server.path}{path}"' in page
        assert 'href="https://rp.test/policy"' in page
        assert 'href="https://rp.test/terms"' in page
        assert "https://rp.test/logo.png" not in page
    assert web.asked == ["https://rp.test/logo.png"], "it is fetched once"
    image = server.app.test_client().get(path)
    assert (image.data, image.mimetype) == (PIXEL, "image/png")
    assert image.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert image.headers["X-Content-Type-Options"] == "nosniff"
    assert "registered itself" in page, "RFC 7591 section 5: its name and logo are not verified"
    assert manage(server, client, "PUT").status_code == 200
    assert server.app.test_client().get(path).status_code == 404


def test_a_client_that_an_administrator_registered_has_no_warning(server: Server) -> None:
    browser = server.browser()
    browser.sign_in()
    page = browser.client.get(browser.request().location).text
    assert "requests access" in page
    assert "registered itself" not in page


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "image/svg+xml"),
        (b"<html>", "image/png"),
        (PIXEL, "text/html"),
        (PIXEL, "image/gif"),
        (b"", "image/png"),
    ],
)
def test_what_is_no_raster_image_is_no_logo(server: Server, body: bytes, content_type: str) -> None:
    with_web(server, Web(logo=(body, content_type)))
    client = registered(server, logo_uri="https://rp.test/logo.png")
    assert client["logo_uri"] == "https://rp.test/logo.png"
    assert "<img" not in consent_page(server, client)
    with server.services.database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Logo)) == 0


def test_a_registration_without_openid_gets_no_id_token(server: Server) -> None:
    client = registered(server, scope="invoices:read")
    browser = server.browser()
    browser.sign_in()
    location = browser.request(client_id=client["client_id"], redirect_uri=URI, scope="openid").location
    assert query(location)["error"] == "invalid_scope"
