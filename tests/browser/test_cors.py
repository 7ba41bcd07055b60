"""A single-page app in Chromium: it uses the authorization server and the API from another origin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.sync_api import Browser, Page

from support.auth_server import CHALLENGE, VERIFIER
from support.browser.serving import another_site, statuses
from support.browsing import answer_to
from support.stack import Stack

pytestmark = pytest.mark.browser

CALLBACK = "https://spa.example/callback"
METADATA = {
    "redirect_uris": [CALLBACK],
    "token_endpoint_auth_method": "none",
    "grant_types": ["authorization_code", "refresh_token"],
    "scope": "openid offline_access invoices:read",
}
FETCH = """async ([method, url, headers, body]) => {
  try {
    const response = await fetch(url, {method, headers, body});
    return {status: response.status, headers: Object.fromEntries(response.headers), text: await response.text(),
            json: null};
  } catch { return {status: 0, headers: {}, text: "", json: null}; }
}"""


def fetch(page: Page, method: str, url: str, body: str | None = None, **headers: str) -> dict[str, Any]:
    """Send a request from a script of the page; the status is 0 if the browser withholds the response from it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer: dict[str, Any] = page.evaluate(FETCH, [method, url, named, body])
    if answer["text"].startswith("{"):
        answer["json"] = page.evaluate("JSON.parse", answer["text"])
    return answer


def post(page: Page, url: str, **form: str) -> dict[str, Any]:
    return fetch(page, "POST", url, urlencode(form), Content_Type="application/x-www-form-urlencoded")


@pytest.fixture
def page(rebound: Browser) -> Iterator[Page]:
    """A page of localhost at another port."""
    context = rebound.new_context()
    context.set_default_timeout(60_000)
    page = context.new_page()
    with another_site() as port:
        page.goto(f"http://localhost:{port}/")
        yield page
    context.close()


def tokens(page: Page, metadata: dict[str, Any], client_id: str, scope: str) -> dict[str, Any]:
    """A person allows the access; the page redeems the code."""
    parameters = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": CALLBACK,
        "scope": scope,
        "prompt": "consent",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    back = answer_to(f"{metadata['authorization_endpoint']}?{urlencode(parameters)}")["url"]
    code = parse_qs(urlsplit(back).query)["code"][0]
    form = {"client_id": client_id, "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
    answer = post(page, metadata["token_endpoint"], grant_type="authorization_code", **form)
    assert answer["status"] == 200, answer
    given: dict[str, Any] = answer["json"]
    return given


def test_an_app_of_another_origin_does_all_that_it_needs(page: Page, site: Stack) -> None:
    """RFC 9700 section 2.6: from the metadata to the API, with refresh, userinfo, revocation, and registration."""
    metadata = fetch(page, "GET", f"{site.auth}/.well-known/openid-configuration")["json"]
    assert fetch(page, "GET", metadata["jwks_uri"])["status"] == 200
    body = page.evaluate("JSON.stringify", METADATA)
    client = fetch(page, "POST", metadata["registration_endpoint"], body, Content_Type="application/json")["json"]
    client_id = client["client_id"]
    own = {"Authorization": f"Bearer {client['registration_access_token']}"}
    assert fetch(page, "GET", client["registration_client_uri"], **own)["status"] == 200

    given = tokens(page, metadata, client_id, "openid offline_access")
    renewed = post(
        page, metadata["token_endpoint"], grant_type="refresh_token", client_id=client_id,
        refresh_token=given["refresh_token"],
    )["json"]  # fmt: skip
    bearer = {"Authorization": f"Bearer {renewed['access_token']}"}
    assert fetch(page, "GET", metadata["userinfo_endpoint"], **bearer)["json"]["sub"]
    refused = fetch(page, "GET", metadata["userinfo_endpoint"], Authorization="Bearer none", DPoP="x")
    assert refused["status"] == 401
    assert refused["headers"]["www-authenticate"].startswith("Bearer")
    assert refused["headers"]["x-request-id"]

    resource = fetch(page, "GET", f"{site.api}/.well-known/oauth-protected-resource")["json"]
    assert resource["authorization_servers"] == [metadata["issuer"]]
    of_api = {"Authorization": f"Bearer {tokens(page, metadata, client_id, 'invoices:read')['access_token']}"}
    assert fetch(page, "GET", f"{site.api}/invoices", **of_api)["json"]["invoices"]
    paid = fetch(page, "POST", f"{site.api}/invoices/none/payment", **of_api)
    assert (paid["status"], paid["json"]["error"]) == (403, "insufficient_scope")

    revoked = {"client_id": client_id, "token": renewed["refresh_token"]}
    assert post(page, metadata["revocation_endpoint"], **revoked)["status"] == 200
    assert fetch(page, "DELETE", client["registration_client_uri"], **own)["status"] == 204


def test_a_page_cannot_read_pages_introspection_and_the_lab(page: Page, site: Stack) -> None:
    for url in (f"{site.auth}/authorize", f"{site.auth}/sign-in", f"{site.auth}/_lab/events", f"{site.client}/"):
        assert fetch(page, "GET", url)["status"] == 0, url
    assert post(page, f"{site.auth}/introspect", token="x")["status"] == 0


def test_a_public_page_cannot_register_clients_in_the_lab(page: Page, site: Stack) -> None:
    """It cannot do so even without reading the response. Endpoints that do not change anything accept its requests."""
    page.goto(page.url.replace("localhost", "evil.example"))
    received = statuses(page)
    body = page.evaluate("JSON.stringify", METADATA)
    url = f"{site.auth}/register"
    assert fetch(page, "POST", url, body, Content_Type="application/json")["status"] == 0
    page.evaluate("([url, body]) => fetch(url, {method: 'POST', mode: 'no-cors', body}).catch(() => null)", [url, body])
    assert fetch(page, "GET", f"{site.auth}/jwks")["status"] == 200
    assert [status for method, target, status in received() if (method, target) == ("POST", url)] == [403]
