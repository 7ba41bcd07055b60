"""A readable but invalid value gets the error that its RFC specifies, and consumes no code or token."""

from __future__ import annotations

import pytest

from rolecall.limits import limit
from support.auth_server import (
    INVOICES,
    SECRET,
    TALLY,
    Server,
    a_client,
    make_server,
    make_settings,
    query,
)
from support.signing import CLIENT_ASSERTION_TYPE

pytestmark = pytest.mark.database

UNREADABLE = ["é", "a\nb", "x" * 20_000]


@pytest.mark.parametrize("token", UNREADABLE)
def test_an_unreadable_refresh_token_is_an_invalid_grant(server: Server, token: str) -> None:
    """RFC 6749 section 5.2: a client then asks the person again instead of retrying forever."""
    refused = server.refresh(token)
    assert (refused.status_code, refused.json["error"]) == (400, "invalid_grant")
    stranger = server.post("/token", grant_type="refresh_token", refresh_token=token)
    assert (stranger.status_code, stranger.json["error"]) == (401, "invalid_client"), "the client comes first"


@pytest.mark.parametrize("scope", ["invoices:read  profile", "invoices:read ", "a\tb", '"', "é", "x" * 1001])
def test_a_malformed_scope_is_an_invalid_scope(server: Server, scope: str) -> None:
    """RFC 6749 section 5.2; section 4.1.2.1 for the authorization endpoint is in test_authorize.py."""
    tokens = server.tokens()
    refused = server.refresh(tokens["refresh_token"], scope=scope)
    assert (refused.status_code, refused.json["error"]) == (400, "invalid_scope")
    assert server.refresh(tokens["refresh_token"]).status_code == 200, "the refused scope used the token up"


@pytest.mark.parametrize("token", UNREADABLE)
def test_an_unreadable_token_is_inactive_and_already_revoked(server: Server, token: str) -> None:
    """RFC 7662 sections 2.2 and 2.3, RFC 7009 section 2.2; only for callers that authenticate."""
    assert server.introspect(token) == {"active": False}
    assert server.post("/revoke", TALLY, token=token).status_code == 200
    for path in ("/introspect", "/revoke"):
        assert server.post(path, token=token).json["error"] == "invalid_client"


@pytest.mark.parametrize("value", UNREADABLE)
@pytest.mark.parametrize("name", ["client_id", "client_secret", "client_assertion", "client_assertion_type"])
def test_unreadable_credentials_are_a_failed_authentication(
    server: Server, name: str, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    """RFC 6749 section 5.2, appendix A.1 and A.2; RFC 7521 section 4.2.1."""
    server.add(a_client(client_id="post", token_endpoint_auth_method="client_secret_post"))
    credentials = {"client_id": "post", "client_secret": SECRET}
    if name.startswith("client_assertion"):
        credentials = {"client_assertion": "a.b.c", "client_assertion_type": CLIENT_ASSERTION_TYPE}
    form = {"grant_type": "refresh_token", "refresh_token": "x", **credentials, name: value}
    caplog.set_level("INFO")
    for path in ("/token", "/revoke"):
        refused = server.post(path, **form, token="x")
        assert (refused.status_code, refused.json["error"]) == (401, "invalid_client")
        assert "Basic" in refused.headers["WWW-Authenticate"]
    failures = [record for record in caplog.records if vars(record).get("event") == "client_authentication_failed"]
    assert len(failures) == 2
    assert value not in caplog.text


def test_unreadable_credentials_are_counted(server: Server, redis_url: str, tmp_path: object) -> None:
    """RFC 6749 section 2.3.1: attempts to guess are limited."""
    server = make_server(make_settings(tmp_path, redis_url, client_address_limit=limit("2/minute")))  # type: ignore[arg-type]
    statuses = [server.post("/revoke", client_id="é", client_secret="x", token="x").status_code for _ in range(3)]
    assert statuses == [401, 401, 429]


def test_an_unreadable_client_id_beside_good_credentials_is_refused(server: Server) -> None:
    refused = server.post("/revoke", TALLY, client_id="é", token="x")
    assert (refused.status_code, refused.json["error"]) == (401, "invalid_client")


@pytest.mark.parametrize("path", ["/token", "/revoke"])
def test_an_empty_header_is_no_second_method(server: Server, path: str) -> None:
    """RFC 6749 section 2.3: the only method is the one in the body."""
    server.add(a_client(client_id="post", token_endpoint_auth_method="client_secret_post"))
    form = {"client_id": "post", "client_secret": SECRET, "grant_type": "refresh_token", "refresh_token": "x"}
    answer = server.post(path, {"Authorization": ""}, **form, token="x")
    assert answer.status_code == 200 if path == "/revoke" else answer.json["error"] == "invalid_grant"


@pytest.mark.parametrize("path", ["/token", "/revoke", "/introspect"])
def test_repeated_headers_are_several_methods(server: Server, path: str) -> None:
    """RFC 6749 section 2.3; a server joins repeated headers with commas."""
    headers = INVOICES if path == "/introspect" else TALLY
    twice = {"Authorization": f"{headers['Authorization']},{headers['Authorization']}"}
    refused = server.post(path, twice, token="x", grant_type="refresh_token", refresh_token="x")
    assert (refused.status_code, refused.json["error"]) == (400, "invalid_request")


def test_an_empty_parameter_in_the_address_counts_as_omitted(server: Server) -> None:
    """RFC 6749 section 3.1."""
    assert server.post("/revoke?client_id=&client_secret=", TALLY, token="x").status_code == 200
    assert server.post("/revoke?client_id=tally", TALLY, token="x").json["error"] == "invalid_request"


def test_a_login_hint_has_the_length_of_an_address_and_a_longer_one_is_ignored(server: Server) -> None:
    """OpenID Connect Core section 3.1.2.1: a hint."""
    browser = server.browser()
    for hint, is_shown in (("a" * 320, True), ("a" * 321, False), ("a\nb", False)):
        location = browser.request(login_hint=hint).location
        assert "/sign-in" in location
        assert (hint in browser.client.get(location).text) == is_shown


@pytest.mark.parametrize("name", ["display", "ui_locales", "claims_locales"])
def test_what_the_pages_do_not_use_is_ignored(server: Server, name: str) -> None:
    """OpenID Connect Core sections 3.1.2.1 and 5.2: no error results if a locale is not supported."""
    assert "/sign-in" in server.browser().request(**{name: "é"}).location


@pytest.mark.parametrize("name", ["scope", "response_type", "request_uri"])
def test_a_repeated_parameter_is_invalid_whatever_the_error_of_its_value(server: Server, name: str) -> None:
    """RFC 6749 section 4.1.2.1: invalid_request "includes a parameter more than once"."""
    parameters = [("client_id", "tally"), ("response_type", "code"), (name, "a"), (name, "b")]
    answer = query(server.app.test_client().get("/authorize", query_string=parameters).location)
    assert answer["error"] == "invalid_request"
