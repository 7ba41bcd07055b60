"""oidc-client-ts in Chromium: a single-page app of another origin, with the same-origin policy in force."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from support.foreign import INTEROP, configuration, register
from support.stack import Stack

pytestmark = [pytest.mark.npm, pytest.mark.browser, pytest.mark.integration]

SOURCES = INTEROP / "oidc-client-ts"
LIBRARIES = ("oidc-client-ts/dist/esm/oidc-client-ts.js", "jwt-decode/build/esm/index.js")


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def app(lab: Stack, node: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The app of `oidc-client-ts/`, registered and served on a separate origin."""
    folder = tmp_path_factory.mktemp("spa")
    for library in LIBRARIES:
        shutil.copy(node / "node_modules" / library, folder / f"{library.split('/')[0]}.js")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(folder))) as server:
        address = {"localhost:5173": f"localhost:{server.server_port}"}
        metadata = json.loads(configuration((SOURCES / "client.json").read_text(), lab, address))
        values = {"CLIENT_ID": register(lab, **metadata)["client_id"], **address}
        for file in SOURCES.iterdir():
            (folder / file.name).write_text(configuration(file.read_text(), lab, values))
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def page(chromium: Browser, lab: Stack, app: str) -> Iterator[Page]:
    """The app's page, after Alice has signed in."""
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"{app}/index.html")
    page.click("#sign-in")
    page.wait_for_url(f"{lab.auth}/**")
    page.fill("#username", "alice")
    page.fill("#password", "wonderland-lab")
    page.click("#login-submit")
    page.click("#consent-allow")
    expect(page.locator("#user")).to_have_text("Alice Liddell <alice@wonderland.test>")
    yield page
    context.close()


def user(page: Page) -> dict[str, Any]:
    """Return the app's user with the tokens."""
    found: dict[str, Any] = page.evaluate("app.manager.getUser()")
    return found


def outcome(page: Page, call: str) -> str:
    """Return `done`, or the message of the error that the call throws."""
    result: str = page.evaluate(f"{call}.then(() => 'done', (error) => error.message)")
    return result


def test_refresh_rotates_the_tokens(page: Page) -> None:
    """RFC 9700 section 4.14.2, RFC 6749 section 6: the API accepts the new access token."""
    before = user(page)
    assert page.evaluate("app.invoices()")["invoices"]
    assert outcome(page, "app.manager.signinSilent()") == "done"
    after = user(page)
    assert after["access_token"] != before["access_token"]
    assert after["refresh_token"] != before["refresh_token"]
    assert after["profile"]["sub"] == before["profile"]["sub"]
    assert page.evaluate("app.invoices()")["invoices"]


def test_revocation(page: Page, lab: Stack) -> None:
    """RFC 7009 sections 2.1 and 2.2: neither token works afterwards, and the app can read why (RFC 6750 section 3)."""
    tokens = {name: user(page)[name] for name in ("access_token", "refresh_token")}
    userinfo = """([url, token]) => fetch(url, {headers: {Authorization: `Bearer ${token}`}}).then(
      (response) => [response.status, response.headers.get('WWW-Authenticate') ?? ''])"""
    request = [f"{lab.auth}/userinfo", tokens["access_token"]]
    assert page.evaluate(userinfo, request) == [200, ""]

    assert outcome(page, "app.manager.revokeTokens()") == "done"
    assert not user(page).get("refresh_token")
    status, challenge = page.evaluate(userinfo, request)
    assert (status, "invalid_token" in challenge) == (401, True)
    store = "(tokens) => app.manager.getUser().then((user) => app.manager.storeUser(Object.assign(user, tokens)))"
    page.evaluate(store, tokens)
    assert page.evaluate("app.manager.signinSilent().catch((error) => error.error)") == "invalid_grant"


def test_silent_renewal_without_a_refresh_token(page: Page) -> None:
    """RFC 8252 section 8.6: consent is not remembered for this app, so the iframe gets an error."""
    page.evaluate(
        "app.manager.getUser().then((user) => app.manager.storeUser(Object.assign(user, {refresh_token: ''})))"
    )
    assert page.evaluate("app.manager.signinSilent().catch((error) => error.error)") == "consent_required"


def test_local_sign_out(page: Page) -> None:
    """The app forgets its user."""
    assert outcome(page, "app.manager.removeUser()") == "done"
    assert page.evaluate("app.manager.getUser()") is None
