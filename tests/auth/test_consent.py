"""A grant never exceeds what the person saw: decisions, consents, and later changes of a client's registration."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from rolecall import clock
from rolecall_auth.grants.authorization_code import CodeGrant
from rolecall_auth.models.authorization import Authorization
from rolecall_auth.models.client import Client
from rolecall_auth.models.consent import Consent
from rolecall_auth.models.user import User
from support.auth_server import (
    Browser,
    Server,
    a_client,
    another_tab,
    claims,
    hidden_fields,
    query,
)
from support.openid import ASKED, RP, relying_party
from support.openid import CALLBACK as RP_CALLBACK
from support.registration import manage, registered

pytestmark = pytest.mark.database

CLAIMS = '{"userinfo": {"email": null, "name": null}, "id_token": {"name": null}}'


def change(server: Server, client_id: str, **values: Any) -> None:
    """Change a registration, as `flask add-client` or RFC 7592 does."""
    with server.services.database.transaction() as session:
        client = session.get_one(Client, client_id)
        for name, value in values.items():
            setattr(client, name, value)
    server.services.registry.forget(client_id)


def consent_page(server: Server, **request: str) -> tuple[Browser, str]:
    browser = server.browser()
    browser.sign_in()
    location = browser.request(**request).location
    assert "/consent" in location
    return browser, location


def allow(browser: Browser, location: str, form: dict[str, str]) -> Any:
    return browser.client.post(location, data={**form, "decision": "allow"})


def rows(server: Server, model: Any) -> int:
    with server.services.database.read() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(model)) or 0


def test_claims_that_were_not_approved_are_never_released(server: Server) -> None:
    """OpenID Connect Core section 5.5: not even if the client is registered for their scope later."""
    server.add(relying_party(scope="openid offline_access"))
    request = ASKED | {"scope": "openid offline_access", "claims": CLAIMS, "prompt": "consent"}
    given = server.redeem(server.code(**request), RP, redirect_uri=RP_CALLBACK).json
    assert given is not None
    change(server, "rp", scope="openid offline_access profile email address phone")
    bearer = {"Authorization": f"Bearer {given['access_token']}"}
    assert server.app.test_client().get("/userinfo", headers=bearer).json == {"sub": server.ids["alice"]}
    again = server.refresh(given["refresh_token"], RP).json
    assert again is not None
    assert "name" not in claims(again["id_token"])
    assert {*claims(again["id_token"])} == {*claims(given["id_token"])} - {"nonce"}


def test_claims_and_scopes_disappear_with_the_registration(server: Server) -> None:
    """Userinfo, ID tokens, refreshes, and introspection return the intersection with the current registration."""
    server.add(relying_party(scope="openid offline_access profile email invoices:read"))
    with server.services.database.transaction() as session:
        session.get_one(User, server.ids["alice"]).claims = {"email": "alice@example.org", "name": "Alice"}
    scope = "openid offline_access email invoices:read"
    request = ASKED | {"scope": scope, "claims": CLAIMS, "prompt": "consent"}
    given = server.redeem(server.code(**request), RP, redirect_uri=RP_CALLBACK).json
    assert given is not None
    bearer = {"Authorization": f"Bearer {given['access_token']}"}
    assert {"email", "name"} <= {*server.app.test_client().get("/userinfo", headers=bearer).json}
    change(server, "rp", scope="openid offline_access invoices:read")
    assert server.app.test_client().get("/userinfo", headers=bearer).json == {"sub": server.ids["alice"]}
    assert server.introspect(given["access_token"])["scope"] == "invoices:read offline_access openid"
    again = server.refresh(given["refresh_token"], RP).json
    assert again is not None
    assert again["scope"] == "invoices:read offline_access openid"
    assert "name" not in claims(again["id_token"])
    change(server, "rp", scope="profile")
    assert not server.is_active(given["access_token"])
    refused = server.app.test_client().get("/userinfo", headers=bearer)
    assert (refused.status_code, refused.json["error"]) == (403, "insufficient_scope")


CHANGES: dict[str, Callable[[Server], None]] = {
    "scope": lambda server: change(server, "rp", scope="openid invoices:read invoices:pay"),
    "claims": lambda server: change(server, "rp", scope="openid invoices:read email"),
    "redirect URI": lambda server: change(server, "rp", redirect_uris=["https://elsewhere.test/callback"]),
    "subject type": lambda server: change(server, "rp", subject_type="pairwise"),
    "name": lambda server: change(server, "rp", client_name="Your Bank"),
    "refreshing": lambda server: change(server, "rp", grant_types=["authorization_code", "refresh_token"]),
}


@pytest.mark.parametrize("moment", ["while the page is open", "after the decision"])
@pytest.mark.parametrize("name", CHANGES)
def test_a_decision_about_another_request_does_not_count(server: Server, name: str, moment: str) -> None:
    """RFC 6749 section 4.1.1: a decision counts for the request that the page showed, and for no other request."""
    server.add(relying_party(scope="openid invoices:read", grant_types=["authorization_code"], profile="oauth2.1"))
    request = {"client_id": "rp", "scope": "-", "redirect_uri": "-"}
    if name == "claims":
        request = ASKED | {"client_id": "rp", "scope": "openid invoices:read", "claims": CLAIMS}
    browser, location = consent_page(server, **request)
    form = hidden_fields(browser.client.get(location))
    if moment == "after the decision":
        decided = allow(browser, location, form)
        assert decided.status_code == 303
        CHANGES[name](server)
        response = browser.client.get(decided.location)
        if name in {"scope", "subject type"} and response.status_code == 303:
            response = browser.client.get(response.location)
    else:
        CHANGES[name](server)
        response = allow(browser, location, form)
    assert "code=" not in (response.location or "")
    assert rows(server, Authorization) == 0
    if moment == "while the page is open":
        assert rows(server, Consent) == 0
        assert response.status_code in {400, 409, 303}, response.text


def test_the_page_that_asks_again_says_so_and_its_decision_counts(server: Server) -> None:
    change(server, "tally", scope="invoices:read")
    browser, location = consent_page(server, scope="-")
    form = hidden_fields(browser.client.get(location))
    change(server, "tally", scope="invoices:read invoices:pay profile")
    page = allow(browser, location, form)
    assert page.status_code == 409
    assert "This request has changed since you opened this page." in page.text
    assert "invoices:pay" in page.text
    decided = allow(browser, location, hidden_fields(page))
    code = query(browser.client.get(decided.location).location)["code"]
    tokens = server.redeem(code).json
    assert tokens is not None
    assert tokens["scope"] == "invoices:pay invoices:read profile"


def test_a_page_in_another_tab_does_not_vouch_for_an_older_one(server: Server) -> None:
    change(server, "tally", scope="invoices:read")
    browser, location = consent_page(server, scope="-")
    form = hidden_fields(browser.client.get(location))
    change(server, "tally", scope="invoices:read invoices:pay")
    browser.client.get(location)  # the other tab shows the new request
    assert allow(browser, location, form).status_code == 409
    assert rows(server, Consent) == 0


def test_a_client_that_changes_itself_gains_nothing(server: Server) -> None:
    """RFC 7592 section 2.2, while the person reads the page."""
    client = registered(server, scope="invoices:read", grant_types=["authorization_code"])
    browser, location = consent_page(server, client_id=client["client_id"], scope="-", redirect_uri="-")
    form = hidden_fields(browser.client.get(location))
    changed = manage(server, client, "PUT", scope="invoices:read invoices:pay profile", client_name="Tally")
    assert changed.status_code == 200, changed.text
    server.services.registry.forget(client["client_id"])
    assert allow(browser, location, form).status_code == 409
    assert rows(server, Authorization) == 0


def test_a_remembered_consent_does_not_cover_refreshing_that_no_page_has_shown(server: Server) -> None:
    change(server, "tally", grant_types=["authorization_code"])
    server.code()
    browser = server.browser()
    browser.sign_in()
    assert "code=" in browser.request().location, "the consent is remembered"
    change(server, "tally", grant_types=["authorization_code", "refresh_token"])
    assert "/consent" in browser.request().location


def test_a_new_sector_does_not_change_the_subject(server: Server) -> None:
    """OpenID Connect Core section 12.2: a refreshed ID token has the original `sub`."""
    server.add(relying_party(scope="openid offline_access", subject_type="pairwise"))
    request = ASKED | {"scope": "openid offline_access", "prompt": "consent"}
    given = server.redeem(server.code(**request), RP, redirect_uri=RP_CALLBACK).json
    assert given is not None
    subject = claims(given["id_token"])["sub"]
    for values in ({"sector_identifier_uri": "https://other.test/sector.json"}, {"subject_type": "public"}):
        change(server, "rp", **values)
        given = server.refresh(given["refresh_token"], RP).json
        assert given is not None
        assert claims(given["id_token"])["sub"] == claims(given["access_token"])["sub"] == subject
        bearer = {"Authorization": f"Bearer {given['access_token']}"}
        assert server.app.test_client().get("/userinfo", headers=bearer).json["sub"] == subject


def test_tabs_that_allow_different_scopes_at_once_lose_nothing(server: Server) -> None:
    """One atomic statement stores a consent, on SQLite and on PostgreSQL."""
    browser = server.browser()
    browser.sign_in()
    wanted = ("invoices:read", "invoices:pay", "profile")

    def decide(page: tuple[str, dict[str, str]]) -> str:
        decided = another_tab(browser.client).post(page[0], data={**page[1], "decision": "allow"})
        return str(another_tab(browser.client).get(decided.location).location)

    with ThreadPoolExecutor(3) as pool:
        for _ in range(10):
            locations = [browser.request(scope=scope, prompt="consent").location for scope in wanted]
            pages = [(location, hidden_fields(browser.client.get(location))) for location in locations]
            assert all("code=" in answer for answer in pool.map(decide, pages))
            assert rows(server, Consent) == len(wanted) + 1
            page = browser.client.get("/apps")
            browser.client.post("/apps/disconnect", data={**hidden_fields(page), "client_id": "tally"})
            assert rows(server, Consent) == 0


def test_a_consent_and_a_disconnect_at_once_are_no_error(server: Server) -> None:
    browser = server.browser()
    browser.sign_in()

    def send(request: tuple[str, dict[str, str]]) -> int:
        return another_tab(browser.client).post(request[0], data=request[1]).status_code

    with ThreadPoolExecutor(2) as pool:
        for _ in range(10):
            location = browser.request(prompt="consent").location
            form = {**hidden_fields(browser.client.get(location)), "decision": "allow"}
            disconnect = {"csrf_token": form["csrf_token"], "client_id": "tally"}
            assert [*pool.map(send, [(location, form), ("/apps/disconnect", disconnect)])] == [303, 303]


@pytest.mark.parametrize("client_id", ["tally", "native"], ids=["consent stored", "always asked"])
def test_a_disconnect_is_not_outrun_by_a_request_in_progress(
    server: Server, monkeypatch: pytest.MonkeyPatch, client_id: str
) -> None:
    """The user disconnects in another tab after the decision was checked, and before the authorization is stored."""
    native = "http://127.0.0.1/cb"
    application: dict[str, Any] = {"application_type": "native", "token_endpoint_auth_method": "none"}
    server.add(a_client(client_id="native", secret_hash=None, redirect_uris=[native], **application))
    browser = server.browser()
    browser.sign_in()
    where = {"client_id": client_id} | ({"redirect_uri": native} if client_id == "native" else {})
    location = browser.request(**where).location
    form = hidden_fields(browser.client.get(location))
    decided = browser.client.post(location, data={**form, "decision": "allow"}).location
    other, store = another_tab(browser.client), CodeGrant._store_authorization

    def late(grant: CodeGrant, *arguments: Any) -> Any:
        disconnect = {"csrf_token": form["csrf_token"], "client_id": client_id}
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(other.post, "/apps/disconnect", data=disconnect).result().status_code == 303
        return store(grant, *arguments)

    monkeypatch.setattr(CodeGrant, "_store_authorization", late)
    assert "code=" not in (browser.client.get(decided).location or "")
    with server.services.database.connect() as connection:
        reasons = connection.scalars(sa.select(Authorization.end_reason)).all()
    assert reasons == (["disconnected"] if client_id == "native" else [])


def test_one_page_yields_one_code(server: Server) -> None:
    """A POST that read the request before /authorize took it does not store it again."""
    browser = server.browser()
    browser.sign_in()

    def send(request: tuple[str, str, dict[str, str]]) -> str:
        method, url, form = request
        return another_tab(browser.client).open(url, method=method, data=form).location or ""

    with ThreadPoolExecutor(16) as pool:
        for _ in range(5):
            location = browser.request(prompt="consent").location
            form = {**hidden_fields(browser.client.get(location)), "decision": "allow"}
            resume = location.replace("/consent", "/authorize")
            both = [("POST", location, form), ("GET", resume, {})] * 8
            codes = [answer for answer in pool.map(send, both) if "code=" in answer]
            codes += [answer for answer in [send(("GET", resume, {}))] if "code=" in answer]
            assert len(codes) == 1


def test_max_age_holds_when_the_decision_is_used(server: Server) -> None:
    """OpenID Connect Core section 3.1.2.1: 14 minutes on the consent page exceed a `max_age` of one minute."""
    server.add(relying_party(scope="openid"))
    browser = server.browser()
    location = browser.request(**ASKED | {"scope": "openid", "max_age": "60"}).location
    location = browser.sign_in(path=location).location
    location = browser.client.get(location).location
    assert "/consent" in location
    with server.app.app_context():
        clock.set_offset(14 * 60)
    decided = browser.submit(location, decision="allow")
    again = browser.client.get(decided.location).location
    assert "/sign-in" in again
    assert rows(server, Authorization) == 0
    resumed = browser.sign_in(path=again).location
    assert "code=" in browser.client.get(resumed).location, "the decision still counts"


def test_max_age_0_is_satisfied_by_a_new_sign_in(server: Server) -> None:
    server.add(relying_party(scope="openid"))
    server.code(**ASKED | {"scope": "openid"})
    browser = server.browser()
    browser.sign_in()
    with server.app.app_context():
        clock.set_offset(2)
    location = browser.request(**ASKED | {"scope": "openid", "max_age": "0"}).location
    assert "/sign-in" in location
    assert "code=" in browser.client.get(browser.sign_in(path=location).location).location
