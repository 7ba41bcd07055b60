"""Forms from pages of other sites, which the browser's header `Sec-Fetch-Site` reveals."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, url_for

from rolecall.web.routes import Route
from rolecall_lab import catalog
from rolecall_lab.bar import add_bar
from rolecall_lab.compare import pages as compare
from rolecall_lab.settings import LabSettings
from support.auth_server import Server
from support.tally import Tally

REFUSED = "This form was sent from another site"
OPEN_TO_OTHER_SITES = {"authorize", "callback-form"}
"""POST /authorize (OpenID Connect Core section 3.1.2.1) and the form_post response mode."""


def answers(app: Flask, route: Route, site: str | None) -> Any:
    headers = {"Accept": "text/html"} | ({} if site is None else {"Sec-Fetch-Site": site})
    return app.test_client().post(route.path.replace("<client_id>", "x"), headers=headers, data={})


def posts(app: Flask, kind: str) -> list[Route]:
    return [route for route in app.extensions["rolecall_routes"] if route.kind == kind and "POST" in route.methods]


@pytest.mark.parametrize("service", ["server", "tally"])
@pytest.mark.parametrize("site", ["cross-site", "same-site", "", "other"])
def test_every_form_is_for_the_services_own_pages(site: str, service: str, request: pytest.FixtureRequest) -> None:
    app: Flask = request.getfixturevalue(service).app
    forms = [route for route in posts(app, "page") if route.name not in OPEN_TO_OTHER_SITES]
    assert {"consent", "sign-in", "sign-up"} <= {form.name for form in forms} or service == "tally"
    for form in forms:
        answer = answers(app, form, site)
        assert answer.status_code == 403, form.path
        assert REFUSED in answer.text


@pytest.mark.parametrize("service", ["server", "tally"])
@pytest.mark.parametrize("site", ["same-origin", "none", None])
def test_own_pages_and_programs_can_send_them(site: str | None, service: str, request: pytest.FixtureRequest) -> None:
    app: Flask = request.getfixturevalue(service).app
    for form in posts(app, "page"):
        assert REFUSED not in answers(app, form, site).text, form.path


@pytest.mark.parametrize("service", ["server", "tally"])
def test_other_sites_can_send_what_the_protocol_sends_and_what_programs_call(
    service: str, request: pytest.FixtureRequest
) -> None:
    app: Flask = request.getfixturevalue(service).app
    open_pages = [route for route in posts(app, "page") if route.name in OPEN_TO_OTHER_SITES]
    assert len(open_pages) == 1
    for route in (*open_pages, *posts(app, "api")):
        assert REFUSED not in answers(app, route, "cross-site").text, route.path


def test_another_site_can_link_to_a_page_with_a_form(server: Server) -> None:
    for path in ("/sign-in", "/sign-up", "/sign-out"):
        answer = server.app.test_client().get(path, headers={"Sec-Fetch-Site": "cross-site"})
        assert answer.status_code == 200


def test_a_refused_form_changes_nothing_even_with_its_token(server: Server) -> None:
    browser = server.browser()
    token = browser.client.get("/sign-in").text.split('name="csrf_token" value="')[1].split('"')[0]
    form = {"csrf_token": token, "username": "alice", "password": "wonderland-lab"}
    answer = browser.client.post("/sign-in", data=form, headers={"Sec-Fetch-Site": "same-site"})
    assert (answer.status_code, "Set-Cookie" in answer.headers) == (403, False)
    assert browser.client.get("/apps").status_code == 303, "the browser is signed in"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_the_labs_pages_in_tally_are_protected_too(site: str, tally: Tally) -> None:
    catalog.show(tally.app, LabSettings(lab=True, lab_key="k", lab_redis_url="redis://localhost"))
    compare.show(tally.app)
    with tally.app.test_request_context():
        start = url_for("catalog.start", name="code")
    for path in (start, *(f"/compare/{name}" for name in ("send", "event", "again", "back", "connect", "measure"))):
        answer = tally.app.test_client().post(path, headers={"Sec-Fetch-Site": site})
        assert answer.status_code == 403, path
        assert REFUSED in answer.text


def test_the_labs_pages_that_start_a_flow_have_no_form_action(tally: Tally) -> None:
    """RFC 8414 section 2: the authorization endpoint may be on any host."""
    lab = LabSettings(lab=True, lab_key="k", lab_redis_url="redis://localhost")
    catalog.show(tally.app, lab)
    compare.show(tally.app)
    add_bar(tally.app, lab)
    browser = tally.app.test_client()
    for path in ("/", "/flows", "/flows/form_post", "/compare"):
        policy = browser.get(path).headers["Content-Security-Policy"]
        assert "form-action" not in policy
        assert "default-src 'none'" in policy
    assert policy.endswith("script-src 'self'; connect-src 'self'")
    assert "form-action 'self'" in browser.get("/invoices").headers["Content-Security-Policy"]
