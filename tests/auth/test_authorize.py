"""Bad input at the authorization endpoint (RFC 6749 sections 3.1, 4.1.2.1; RFC 9207)."""

from __future__ import annotations

import pytest

from rolecall_auth.models.client import redirect_uri_fault
from support.auth_server import CALLBACK, CHALLENGE, ISSUER, Server, a_client, authorize_url, query

NEVER_REDIRECTED = {
    "no client": {"client_id": "-"},
    "unknown client": {"client_id": "nobody"},
    "client id too long": {"client_id": "x" * 101},
    "client id not ASCII": {"client_id": "tally\u00e9"},
    "client id with NUL": {"client_id": "tally\0"},
    "redirect URI off by one character": {"redirect_uri": CALLBACK + "x"},
    "redirect URI one character short": {"redirect_uri": CALLBACK[:-1]},
    "redirect URI with a query": {"redirect_uri": CALLBACK + "?a=b"},
    "redirect URI with a fragment": {"redirect_uri": CALLBACK + "#a"},
    "redirect URI with another port": {"redirect_uri": "http://tally.test:81/callback"},
    "redirect URI in capitals": {"redirect_uri": CALLBACK.upper()},
    "redirect URI with user": {"redirect_uri": "http://tally.test@evil.test/callback"},
    "redirect URI not ASCII": {"redirect_uri": "http://tally.test/caf\u00e9"},
    "redirect URI with a backslash": {"redirect_uri": "http://tally.test\\callback"},
    "redirect URI with a quote": {"redirect_uri": CALLBACK + '"'},
    "redirect URI with CRLF": {"redirect_uri": CALLBACK + "\r\nX: y"},
    "redirect URI that is a script": {"redirect_uri": "javascript:alert(1)"},
}


@pytest.mark.parametrize("changes", NEVER_REDIRECTED.values(), ids=NEVER_REDIRECTED.keys())
def test_a_bad_client_or_redirect_uri_is_never_redirected(server: Server, changes: dict[str, str]) -> None:
    """RFC 6749 section 4.1.2.1: MUST NOT automatically redirect. RFC 9700 section 2.1: the URI matches exactly."""
    response = server.browser().request(**changes)
    assert response.status_code == 400
    assert "Location" not in response.headers
    assert "Go back to the app" in response.text


@pytest.mark.parametrize("name", ["client_id", "redirect_uri"])
def test_a_repeated_client_or_redirect_uri_is_never_redirected(server: Server, name: str) -> None:
    value = {"client_id": "tally", "redirect_uri": "http%3A%2F%2Ftally.test%2Fcallback"}[name]
    response = server.browser().client.get(authorize_url() + f"&{name}={value}")
    assert response.status_code == 400
    assert "Location" not in response.headers


REDIRECTED = {
    "no response type": ({"response_type": "-"}, "invalid_request"),
    "response type token": ({"response_type": "token"}, "unsupported_response_type"),
    "response type with a quote": ({"response_type": '"'}, "unsupported_response_type"),
    "scope not registered": ({"scope": "invoices:read admin"}, "invalid_scope"),
    "scope with a double space": ({"scope": "invoices:read  profile"}, "invalid_scope"),
    "scope with a space at its end": ({"scope": "invoices:read "}, "invalid_scope"),
    "scope with a tab": ({"scope": "invoices:read\tprofile"}, "invalid_scope"),
    "scope with a quote": ({"scope": 'invoices:read "'}, "invalid_scope"),
    "scope not ASCII": ({"scope": "caf\u00e9"}, "invalid_scope"),
    "scope too long": ({"scope": "x" * 1001}, "invalid_scope"),
    "state too long": ({"state": "x" * 2001}, "invalid_request"),
    "state with a newline": ({"state": "a\nb"}, "invalid_request"),
    "no challenge": ({"code_challenge": "-", "code_challenge_method": "-"}, "invalid_request"),
    "challenge without method, which means plain": ({"code_challenge_method": "-"}, "invalid_request"),
    "method plain": ({"code_challenge_method": "plain"}, "invalid_request"),
    "method in lower case": ({"code_challenge_method": "s256"}, "invalid_request"),
    "method without challenge": ({"code_challenge": "-"}, "invalid_request"),
    "challenge too short": ({"code_challenge": "x" * 42}, "invalid_request"),
    "challenge with a newline at its end": ({"code_challenge": CHALLENGE + "\n"}, "invalid_request"),
    "unknown resource": ({"resource": "http://other.test"}, "invalid_target"),
    "resource with a fragment": ({"resource": "http://api.test#x"}, "invalid_target"),
    "relative resource": ({"resource": "api"}, "invalid_target"),
}


@pytest.mark.parametrize(("changes", "error"), REDIRECTED.values(), ids=REDIRECTED.keys())
def test_other_faults_go_back_to_the_client_with_iss(server: Server, changes: dict[str, str], error: str) -> None:
    """RFC 6749 section 4.1.2.1 and RFC 9207 section 2: every error response names the issuer.

    PKCE: RFC 7636 sections 4.3 and 4.4.1; resources: RFC 8707 section 2; status 303: RFC 9700 section 4.12.

    The response type: RFC 6749 section 3.1.1.
    """
    response = server.browser().request(**changes)
    assert response.status_code == 303
    assert response.location.startswith(CALLBACK + "?")
    answer = query(response.location)
    assert answer["error"] == error
    assert answer["iss"] == ISSUER
    if changes.keys() != {"state"}:
        assert answer["state"] == "st4te"


@pytest.mark.parametrize("name", ["response_type", "scope", "state", "code_challenge", "code_challenge_method"])
def test_a_repeated_parameter_is_refused(server: Server, name: str) -> None:
    """RFC 6749 section 3.1: parameters MUST NOT be included more than once."""
    response = server.browser().client.get(authorize_url() + f"&{name}=x")
    assert query(response.location)["error"] == "invalid_request"
    assert query(response.location)["iss"] == ISSUER


def test_unknown_and_empty_parameters_count_as_omitted(server: Server) -> None:
    """RFC 6749 section 3.1."""
    browser = server.browser()
    browser.sign_in()
    answer = browser.authorize(state="", resource="", invented="yes")
    assert "code" in answer
    assert "state" not in answer


def test_a_long_state_comes_back_intact(server: Server) -> None:
    browser = server.browser()
    browser.sign_in()
    state = "".join(chr(0x21 + n % 94) for n in range(1000))
    assert browser.authorize(state=state)["state"] == state


def test_post_works_like_get_and_waits_for_the_lax_cookie(server: Server) -> None:
    """RFC 6749 section 3.1: POST may be supported; a form from another site brings no Lax cookie."""
    browser = server.browser()
    browser.sign_in()
    address, _, parameters = authorize_url().partition("?")
    form = dict(pair.split("=", 1) for pair in parameters.replace("%3A", ":").replace("%2F", "/").split("&"))
    stranger = server.browser()
    posted = stranger.client.post(address, data=form)
    assert posted.status_code == 303
    assert posted.location.startswith(f"{server.path}/authorize?interaction=")
    assert "/sign-in" in stranger.client.get(posted.location).location
    posted = browser.client.post(address, data=form)
    assert "/consent" in browser.client.get(posted.location).location


def test_the_only_registered_redirect_uri_may_be_left_out_but_not_one_of_two(server: Server) -> None:
    """RFC 6749 section 3.1.2.3."""
    server.add(a_client(client_id="two", redirect_uris=[CALLBACK, CALLBACK + "2"]))
    browser = server.browser()
    browser.sign_in()
    answer = browser.authorize(redirect_uri="-")
    assert server.redeem(answer["code"], redirect_uri="-").status_code == 200
    assert browser.request(client_id="two", redirect_uri="-").status_code == 400


def test_an_openid_request_names_its_redirect_uri(server: Server) -> None:
    """OpenID Connect Core section 3.1.2.1: REQUIRED, even if the client has registered only one URI."""
    browser = server.browser()
    assert browser.request(redirect_uri="-", scope="invoices:read").status_code == 303
    for more in ({}, {"response_mode": "form_post"}, {"prompt": "none"}):
        response = browser.request(redirect_uri="-", scope="profile openid", **more)
        assert response.status_code == 400, more
        assert "redirect_uri is missing" in response.text
    assert browser.request(scope="profile openid").status_code == 303


def test_denying_says_so_to_the_client(server: Server) -> None:
    browser = server.browser()
    browser.sign_in()
    answer = browser.authorize(decision="deny")
    assert answer["error"] == "access_denied"
    assert answer["state"] == "st4te"
    assert answer["iss"] == ISSUER


def test_consent_is_remembered_and_asked_again_for_more(server: Server) -> None:
    browser = server.browser()
    browser.sign_in()
    browser.authorize()
    assert "code=" in browser.request().location
    assert "/consent" in browser.request(scope="invoices:read profile").location


def test_native_loopback_clients_are_asked_every_time_and_may_choose_the_port(server: Server) -> None:
    """RFC 8252 sections 7.3 and 8.6: the port may differ on a loopback address, not on `localhost`."""
    server.add(
        a_client(
            client_id="desktop",
            application_type="native",
            token_endpoint_auth_method="none",
            secret_hash=None,
            redirect_uris=["http://127.0.0.1/cb", "http://[::1]/cb", "http://localhost/cb"],
        )
    )
    browser = server.browser()
    browser.sign_in()
    for _ in range(2):
        location = browser.request(client_id="desktop", redirect_uri="http://127.0.0.1:54321/cb").location
        assert "/consent" in location
        answer = browser.authorize(client_id="desktop", redirect_uri="http://127.0.0.1:54321/cb")
        assert "code" in answer
    assert "/consent" in browser.request(client_id="desktop", redirect_uri="http://[::1]:1/cb").location
    assert browser.request(client_id="desktop", redirect_uri="http://localhost:5/cb").status_code == 400
    assert browser.request(client_id="desktop", redirect_uri="http://127.0.0.1:5/other").status_code == 400
    assert browser.request(client_id="desktop", redirect_uri="https://127.0.0.1:5/cb").status_code == 400


@pytest.mark.parametrize(
    "uri",
    [
        "http://localhost:9100/cb",
        "http://LocalHost/cb",
        "http://localhost./cb",
        "https://localhost/cb",
        "http://app.localhost:9100/cb",
        "https://App.LOCALHOST./cb",
        "http://127.0.0.1/cb",
        "http://127.8.9.10/cb",
        "https://127.0.0.1.:8443/cb",
        "http://127.1/cb",
        "http://2130706433/cb",
        "http://0177.0.0.1/cb",
        "http://0x7F.0X.1/cb",
        "https://0x7f000001/cb",
        "http://[::1]/cb",
        "https://[0:0:0:0:0:0:0:1]/cb",
        "http://[::ffff:127.0.0.1]/cb",
        "https://[::FFFF:7f00:1]/cb",
        "http://app.test/cb",
        "https://app.test/cb",
        "org.example.app:/cb",
        "org.example.app://app.example/cb",
    ],
)
def test_consent_of_public_clients_on_a_device_is_never_remembered(server: Server, uri: str) -> None:
    """RFC 8252 section 8.6: other software on the device can receive the response. A secret protects other clients."""
    common = {"redirect_uris": [uri], "application_type": "native"}
    assert redirect_uri_fault(uri, "native", lab=True) is None
    public = a_client(client_id="public", token_endpoint_auth_method="none", secret_hash=None, **common)
    server.add(public, a_client(client_id="confidential", **common))
    browser = server.browser()
    browser.sign_in()
    for client_id, is_remembered in (("public", False), ("confidential", True)):
        asked = {"client_id": client_id, "redirect_uri": uri}
        assert "code" in browser.authorize(**asked)
        silent = query(browser.request(**asked, prompt="none").location)
        assert ("code" in silent, silent.get("error")) == (is_remembered, None if is_remembered else "consent_required")


@pytest.mark.parametrize(
    "host",
    [
        "app.example",
        "localhost.example",
        "notlocalhost",
        "128.0.0.1",
        "127.0.0.1.example",
        "[2001:db8::1]",
        "[::ffff:10.0.0.1]",
    ],
)
def test_consent_of_public_clients_elsewhere_is_remembered(server: Server, host: str) -> None:
    """RFC 6749 section 10.2: only the owner of the host receives the response."""
    uri = f"https://{host}/cb"
    server.add(a_client(client_id="spa", token_endpoint_auth_method="none", secret_hash=None, redirect_uris=[uri]))
    browser = server.browser()
    browser.sign_in()
    browser.authorize(client_id="spa", redirect_uri=uri)
    assert "code" in query(browser.request(client_id="spa", redirect_uri=uri, prompt="none").location)


def test_pkce_is_optional_only_for_confidential_clients_of_the_profile_openid(server: Server) -> None:
    """RFC 9700 sections 2.1.1 and 4.8.2: the latter about a verifier without a challenge."""
    server.add(
        a_client(client_id="oidc", profile="openid"),
        a_client(client_id="oidc-public", profile="openid", token_endpoint_auth_method="none", secret_hash=None),
    )
    browser = server.browser()
    browser.sign_in()
    without = {"code_challenge": "-", "code_challenge_method": "-"}
    refused = browser.request(client_id="oidc-public", **without)
    assert query(refused.location)["error"] == "invalid_request"
    from support.auth_server import SECRET, basic

    headers = basic("oidc", SECRET)
    answer = browser.authorize(client_id="oidc", **without)
    assert server.redeem(answer["code"], headers).json == {
        "error": "invalid_request",
        "error_description": "The request has a code_verifier, but the authorization request had no code_challenge.",
    }
    assert server.redeem(answer["code"], headers, code_verifier="-").status_code == 200
