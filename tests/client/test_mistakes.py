"""Tally accepts or rejects each alteration of a provider's responses as its clause requires."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from prometheus_client import REGISTRY

from rolecall import clock, events
from rolecall.http import HttpResponse, Unreachable
from rolecall_client.settings import Settings
from rolecall_lab.mistakes.alterations import TOKEN_RULE, Alteration
from rolecall_lab.mistakes.drafts import AuthorizationResponse, Draft
from rolecall_lab.mistakes.provider import Provider
from rolecall_lab.mistakes.table import ALTERATIONS
from support.tally import Browser, Tally, make_tally

ISSUER = "http://provider.test/mistakes/one"

PAGES = {
    "invalid_response_of_server": "sent an invalid response",
    "unavailable": "is not responding",
    "other_issuer": "This is not the expected authorization server",
    "mixed_up": "comes from another server",
    "missing_iss": "does not name its server",
    "unknown_state": "does not match a request",
    "repeated_parameter": "This response is ambiguous",
    "invalid_response": "The response is incomplete",
    "invalid_token_response": "The token response is invalid",
    "invalid_userinfo": "The userinfo response is invalid",
    "another_subject": "about different users",
    "no_error_code": "without an error code",
    "invalid_grant": "The authorization code is no longer valid",
    "temporarily_unavailable": "temporarily unavailable",
    "access_denied": "You did not allow what Tally requested: openid profile email",
    "login_required": "You need to sign in",
    "consent_required": "Your consent is required",
    "interaction_required": "You need to visit the authorization server",
    "account_selection_required": "You need to visit the authorization server",
    "a\nb<": "The error code is invalid",
}
"""The page's explanation of each error code; for other codes, the page shows the code."""

REFRESHED = [each for each in ALTERATIONS.values() if each.name.startswith("refreshed_")]
ANYWHERE = [each for each in ALTERATIONS.values() if not each.secure and each not in REFRESHED]
SECURE = [each for each in ALTERATIONS.values() if each.secure]

ALARMS = {"mixed_up", "unknown_state", "repeated_parameter", "another_subject"}
"""The errors that are written to the audit log, besides those of ID tokens."""


@dataclass
class Connection:
    """The HTTP client of Tally, whose requests the provider answers directly."""

    provider: Provider
    urls: list[str] = field(default_factory=list)

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> HttpResponse:
        self.urls.append(url)
        if not url.startswith(("http://provider.test/", "https://provider.test/")):
            raise Unreachable(url, "no such host")
        draft = self.provider.respond(method, urlsplit(url).path, form or {}, (headers or {}).get("Authorization", ""))
        assert isinstance(draft, Draft)
        return HttpResponse(draft.status, {"content-type": draft.content_type}, draft.encoded(), 1.0)


def tally_with(redis_url: str, alteration: Alteration | None, **settings: Any) -> tuple[Tally, Provider]:
    from rolecall_client import create_app

    issuer = settings.get("issuer", ISSUER)
    provider = Provider(issuer, alteration)
    own: Settings = make_tally(redis_url).services.settings
    http = Connection(provider)
    app = create_app(dataclasses.replace(own, **{"issuer": issuer, **settings}), http)  # type: ignore[arg-type]
    return Tally(app, app.extensions["rolecall_client"], http), provider  # type: ignore[arg-type]


def sign_in(browser: Browser, provider: Provider, page: str = "/", button: str = "/sign-in", **fields: str) -> Any:
    """Press the button, and let the provider redirect back."""
    started = browser.press(button, page, **fields)
    if started.status_code != 303:
        return started
    parameters = dict(parse_qsl(urlsplit(started.location).query))
    response = provider.respond("GET", urlsplit(started.location).path, parameters)
    assert isinstance(response, AuthorizationResponse)
    return browser.client.get("/callback", query_string=response.pairs())


def alarms() -> float:
    labels = {"service": "client-webapp", "event": "answer_refused"}
    return REGISTRY.get_sample_value("rolecall_audit_events_total", labels) or 0.0


@pytest.mark.parametrize("alteration", ANYWHERE, ids=lambda each: each.name)
def test_each_alteration_is_judged_as_its_clause_says(redis_url: str, alteration: Alteration) -> None:
    tally, provider = tally_with(redis_url, alteration)
    browser, notebook, before = tally.browser(), events.Notebook(), alarms()
    with events.watching(notebook):
        page = sign_in(browser, provider)
    refused = {note["name"] for note in notebook.notes if note["kind"] == "check" and not note["passed"]}
    if alteration.is_accepted:
        assert (page.status_code, page.location) == (303, "/me"), page.text
        assert browser.client.get("/me").status_code == 200
        assert (refused, alarms() - before) == (set(), 0)
        return
    assert page.status_code in {400, 403, 502, 503}
    assert browser.client.get("/me").status_code == 403
    if alteration.refusal.startswith(TOKEN_RULE):
        assert "Tally rejected the ID token" in page.text
        assert refused == {alteration.refusal}
        assert alarms() > before
    else:
        explanation = PAGES.get(alteration.refusal, f"The error code is {alteration.refusal}")
        assert explanation in page.text.replace("&#39;", "'")
        assert (alarms() > before) == (alteration.refusal in ALARMS)


@pytest.mark.parametrize("alteration", SECURE, ids=lambda each: each.name)
def test_outside_of_the_lab_no_endpoint_without_tls_is_used(redis_url: str, alteration: Alteration) -> None:
    """RFC 6749 section 3.2, OpenID Connect Discovery section 3."""
    tally, _ = tally_with(redis_url, alteration, issuer="https://provider.test/one", lab=False)
    page = tally.browser().press("/connect")
    assert page.status_code == 502
    assert "is not a URL with https" in page.text
    assert not [url for url in tally.http.urls if url.startswith("http://")]  # type: ignore[attr-defined]


def test_a_correct_provider_signs_in_and_connects(redis_url: str) -> None:
    tally, provider = tally_with(redis_url, None)
    browser = tally.browser()
    for again in ("", "login", "recent", "silent", "choose"):
        assert sign_in(browser, provider, "/me" if again else "/", again=again).location == "/me"
    assert "Alice Liddell" in browser.client.get("/me").text


@pytest.mark.parametrize("alteration", [None, *REFRESHED], ids=lambda each: each.name if each else "none")
def test_each_refreshed_id_token_is_judged_as_its_clause_says(redis_url: str, alteration: Alteration | None) -> None:
    """OpenID Connect Core section 12.2."""
    tally, provider = tally_with(redis_url, alteration)
    browser, notebook, before = tally.browser(), events.Notebook(), alarms()
    assert sign_in(browser, provider, button="/connect-and-sign-in").location == "/invoices"
    clock.set_offset(120)
    with events.watching(notebook):
        page = browser.press("/refresh", "/me")
    refused = {note["name"] for note in notebook.notes if note["kind"] == "check" and not note["passed"]}
    if alteration is None or alteration.is_accepted:
        assert (page.status_code, page.location, refused) == (303, "/invoices", set()), page.text
        clock.set_offset(240)
        assert browser.press("/refresh", "/me").location == "/invoices", "the new refresh token is used"
        return
    assert (page.status_code, refused) == (502, {alteration.refusal})
    assert "Tally rejected the refreshed ID token" in page.text
    assert alarms() > before
    assert "Tally is not connected" in browser.client.get("/invoices").text
    assert browser.client.get("/me").status_code == 200, "the sign-in itself has not changed"


def test_names_and_clauses_are_complete() -> None:
    """The same table will be used to test other clients."""
    assert len(ALTERATIONS) > 200
    for alteration in ALTERATIONS.values():
        assert alteration.title
        assert " section " in alteration.clause
        assert alteration.changes
