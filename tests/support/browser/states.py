"""Pages in every state: a stack with long, right-to-left, and unknown names, and services that cannot reach another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography.fernet import Fernet, MultiFernet
from flask import Flask
from playwright.sync_api import Locator, Page
from ruamel.yaml import YAML

import rolecall_client
from rolecall import clock
from rolecall.http import Unreachable
from rolecall_client.settings import Settings as ClientSettings
from rolecall_lab.compare import invoices
from rolecall_lab.seeds import DEFAULT
from support.browser.accounts import walk_accounts, walk_asking
from support.browser.serving import Shot, serving
from support.openid_provider import Issuer
from support.stack import Stack, suspended
from support.tally import METADATA, TOKENS, FakeHttp, Tally

LONG = "Extraordinarily" + "long" * 20 + "name"
ARABIC, HEBREW = "مؤسسة النخلة للتجارة والمقاولات", "חשבונית אחת קטנה"
PASSWORD = "correct horse"

REPORT = {
    "validator": "jwt",
    "milliseconds": 2.1,
    "calls": [],
    "checks": [
        {"name": "token.aud", "passed": True, "expected": LONG, "actual": LONG, "clause": "RFC 9068 section 4"},
        {"name": "a.check.that.nobody.knows", "passed": True, "actual": ARABIC, "clause": "none"},
        {"name": "token.exp", "passed": False, "actual": 1_700_000_000, "clause": "RFC 9068 section 4"},
    ],
}


def seeds(folder: Path) -> Path:
    """Write the lab's people, apps, and invoices, and others that are harder to display; return the file."""
    yaml = YAML()
    entries: dict[str, Any] = yaml.load(DEFAULT)
    names = {"nour": "نور", "x" + "y" * 38 + "z": LONG, "zed": "Zed"}
    entries["people"] += [
        {"username": name, "password": PASSWORD, "sub": f"usr_{name}", "name": full} for name, full in names.items()
    ]
    entries["invoices"]["nour"] = [invoice(number) for number in range(200)]
    entries["clients"] += [
        {
            "client_id": client_id,
            "client_name": name,
            "description": f"{name} {LONG}",
            "token_endpoint_auth_method": "none",
            "redirect_uris": ["https://app.example/callback/" + "x" * 80],
            "scope": "invoices:read invoices:pay profile",
        }
        for client_id, name in {"long": LONG[:100], "arabic": ARABIC}.items()
    ]
    path = folder / "seeds.yaml"
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(entries, file)
    return path


def invoice(number: int) -> list[Any]:
    supplier = (ARABIC, LONG, "O'Brien & <Sons>", HEBREW)[number % 4]
    state = "open" if number % 3 == 0 else "paid"
    currency = ("EUR", "JPY", "KWD")[number % 3]
    return [f"INV-{number:04}", supplier, HEBREW if number % 2 else "Tea", 10 ** (number % 9 + 1), currency,
            "2026-10-01", "2026-11-01", state]  # fmt: skip


def listed(number: int) -> dict[str, Any]:
    keys = ("number", "supplier", "description", "amount_minor", "currency", "issued_on", "due_on", "state")
    return {"id": f"inv_{number}", **dict(zip(keys, invoice(number), strict=True))}


def tally(redis_url: str, *, lab: bool = True) -> tuple[Flask, FakeHttp]:
    """Return Tally, and the responses that it gets from the other services."""
    http = FakeHttp(
        {
            "http://auth.test/.well-known/oauth-authorization-server": (200, METADATA, {}),
            METADATA["token_endpoint"]: (200, TOKENS, {}),
            METADATA["revocation_endpoint"]: (200, "", {}),
        }
    )
    app = rolecall_client.create_app(
        ClientSettings(
            public_url="http://tally.test", issuer="http://auth.test", resource_url="http://api.test",
            resource_identifier="http://api.test", client_id="tally", client_secret="client-secret-value",
            redis_url=redis_url, secret_key="a secret key of the tests, long enough", log_level="CRITICAL",
            data_key=MultiFernet([Fernet(Fernet.generate_key())]), lab=True,
        ),
        http,  # type: ignore[arg-type]
    )  # fmt: skip
    if lab:
        invoices.show(app)
    return app, http


def connected(page: Page, address: str) -> None:
    """Connect the browser to a Tally of `tally`, without leaving the page."""
    page.goto(f"{address}/")
    token = page.locator("[name=csrf_token]").first.input_value()
    answer = page.request.post(f"{address}/connect", form={"csrf_token": token}, max_redirects=0)
    state = answer.headers["location"].split("state=")[1].split("&")[0]
    page.request.get(f"{address}/callback?code=c&state={state}&iss=http://auth.test", max_redirects=0)


def signing_in(page: Page, address: str, issuer: Issuer, **changes: Any) -> None:
    """Return from a sign-in to a Tally of `tally`, with an ID token whose claims may be changed."""
    page.goto(f"{address}/")
    token = page.locator("[name=csrf_token]").first.input_value()
    answer = page.request.post(f"{address}/sign-in", form={"csrf_token": token}, max_redirects=0)
    asked = parse_qs(urlsplit(answer.headers["location"]).query)
    issuer.answer(issuer.sign(issuer.claims(asked["nonce"][0], **changes)))
    page.goto(f"{address}/callback?code=c&iss=http://auth.test&state={asked['state'][0]}")


def walk_sign_in(page: Page, redis_url: str, shot: Shot) -> None:
    """Tally's pages about a bad ID token, a different subject, a required sign-in, and a person with a long name."""
    app, http = tally(redis_url)
    issuer = Issuer(Tally(app, app.extensions["rolecall_client"], http))
    with serving(app) as address:
        signing_in(page, address, issuer, nonce="another")
        shot("client-bad-id-token")
        issuer.userinfo["sub"] = "usr_bob"
        signing_in(page, address, issuer)
        shot("client-another-subject")
        page.goto(f"{address}/")
        token = page.locator("[name=csrf_token]").first.input_value()
        form = {"csrf_token": token, "again": "silent"}
        asked = page.request.post(f"{address}/sign-in", form=form, max_redirects=0).headers["location"]
        state = asked.split("state=")[1].split("&")[0]
        page.goto(f"{address}/callback?error=login_required&iss=http://auth.test&state={state}")
        shot("client-login-required")
        issuer.userinfo = {"sub": LONG, "name": LONG, "nickname": ARABIC, "address": {"formatted": HEBREW + LONG}}
        signing_in(page, address, issuer, sub=LONG, further=LONG)
        shot("client-me-long")


def walk_tally(page: Page, redis_url: str, shot: Shot) -> None:
    """Tally's pages, with every response that it can get from the other services."""
    app, http = tally(redis_url)
    api = "http://api.test/invoices"
    with serving(app) as address:
        connected(page, address)
        page.goto(f"{address}/")
        shot("client-home-connected")
        for name, answer in {
            "empty": (200, {"invoices": []}, {}),
            "all-200-at-once": (200, {"invoices": [listed(number) for number in range(200)]}, {}),
            "one-long-report": (200, {"invoices": [listed(1)]}, {"rolecall-checks": json.dumps(REPORT)}),
            "refused-403": (403, {"error_description": LONG}, {"www-authenticate": f'Bearer scope="{LONG}"'}),
            "api-503": (503, {"error_description": "The authorization server does not answer."}, {}),
            "api-away": Unreachable(api, "connection refused"),
        }.items():
            http.answers[api] = answer
            page.goto(f"{address}/invoices")
            if page.locator("main details:not([open])").count():
                page.locator("main summary").first.click()
            shot(f"client-{name}")
        http.answers[api] = (401, {"error_description": "The token has expired."}, {})
        clock.set_offset(301)
        page.goto(f"{address}/invoices")
        clock.set_offset(0)
        shot("client-expired")
        http.answers[METADATA["token_endpoint"]] = (400, {"error": "invalid_grant"}, {})
        page.click("#refresh")
        shot("client-refresh-refused-alone")
        page.goto(f"{address}/")
        token = page.locator("[name=csrf_token]").first.input_value()
        sent_on = page.request.post(f"{address}/connect", form={"csrf_token": token}, max_redirects=0)
        state = sent_on.headers["location"].split("state=")[1].split("&")[0]
        page.goto(f"{address}/callback?code=c&iss=http://auth.test&state={state}")
        shot("client-code-refused")
        page.goto(f"{address}/connect")
        shot("client-405")
    app, http = tally(redis_url)
    http.answers.clear()
    with serving(app) as address:
        page.goto(f"{address}/")
        page.click("#connect")
        shot("client-auth-away")
    app, http = tally(redis_url, lab=False)
    http.answers[api] = (200, {"invoices": [listed(number) for number in range(3)]}, {})
    with serving(app) as address:
        connected(page, address)
        page.goto(f"{address}/invoices")
        shot("client-production")


def walk_names(page: Page, stack: Stack, shot: Shot) -> None:
    """Long names, right-to-left names, and many invoices, in the real services."""
    page.goto(f"{stack.auth}/sign-in")
    page.fill("#username", "x" + "y" * 38 + "z")
    page.fill("#password", PASSWORD)
    page.click("#login-submit")
    for client_id in ("long", "arabic"):
        page.goto(
            f"{stack.auth}/authorize?response_type=code&client_id={client_id}&scope=invoices:read+profile&state=s&"
            f"code_challenge={'c' * 43}&code_challenge_method=S256"
        )
        shot(f"auth-consent-{client_id}")
        token = page.locator("[name=csrf_token]").first.input_value()
        shown = page.locator("[name=request]").first.input_value()
        form = {"csrf_token": token, "request": shown, "decision": "allow"}
        page.request.post(page.url, form=form, max_redirects=0)
    page.goto(f"{stack.auth}/apps")
    shot("auth-apps-two")
    for client_id in ("long", "arabic"):
        page.click(f"#disconnect-{client_id}")
    page.goto(f"{stack.auth}/sign-out")
    shot("auth-sign-out-long")
    page.click("#logout-confirm")
    page.goto(f"{stack.auth}/sign-out")
    shot("auth-signed-out")
    page.goto(f"{stack.client}/")
    page.click("#connect")
    page.fill("#username", "nour")
    page.fill("#password", PASSWORD)
    page.click("#login-submit")
    page.locator("#consent-allow, #ask-both").first.wait_for()
    if page.locator("#consent-allow").count():
        page.click("#consent-allow")
    page.click("#ask-both")
    shot("client-nour-both")
    page.click("#ask-jwt")
    page.click("[rel=next]")
    shot("client-page-2")
    page.goto(f"{stack.client}/invoices?page=8")
    shot("client-last-page")
    page.goto(f"{stack.client}/invoices?page=9")
    shot("client-no-such-page")
    page.click("#disconnect")
    shot("client-disconnected")
    page.goto(f"{stack.api}/")
    shot("api-home")
    page.goto(f"{stack.api}/nowhere")
    shot("api-404")


def walk_flow(page: Page, stack: Stack, shot: Shot) -> None:
    """Alice's flow from her first visit to her sign-out, and the errors on the way."""
    _walk_errors(page, stack, shot)
    _walk_first_sign_in(page, stack, shot)
    _walk_tokens(page, stack, shot)
    _walk_openid(page, stack, shot)
    page.goto(f"{stack.auth}/sign-out")
    shot("auth-sign-out")
    page.click("#logout-confirm")


def _walk_errors(page: Page, stack: Stack, shot: Shot) -> None:
    page.goto(f"{stack.auth}/")
    shot("auth-home")
    page.goto(f"{stack.auth}/nowhere")
    shot("auth-404")
    page.goto(f"{stack.auth}/authorize?client_id=nobody")
    shot("auth-bad-request")
    page.goto(f"{stack.client}/invoices")
    shot("client-not-connected")
    page.goto(f"{stack.client}/callback?state=x&code=y")
    shot("client-unknown-answer")


def _walk_first_sign_in(page: Page, stack: Stack, shot: Shot) -> None:
    page.goto(f"{stack.client}/")
    shot("client-home")
    page.click("#connect")
    shot("auth-sign-in")
    page.fill("#username", "alice")
    page.fill("#password", "wrong")
    page.click("#login-submit")
    shot("auth-sign-in-wrong")
    page.click("text=Sign up")
    shot("auth-sign-up")
    page.fill("#username", "alice")
    page.fill("#password", "long enough")
    page.click("#signup-submit")
    shot("auth-sign-up-taken")
    page.click("main >> text=Sign in")
    page.fill("#username", "alice")
    page.fill("#password", "wonderland-lab")
    page.click("#login-submit")
    shot("auth-consent")
    page.click("#consent-deny")
    shot("client-denied")


def _walk_tokens(page: Page, stack: Stack, shot: Shot) -> None:
    """Allow the request, then revoke, refresh, and disconnect."""
    page.goto(f"{stack.client}/")
    page.click("#connect")
    page.click("#consent-allow")
    shot("client-invoices")
    page.click("#ask-jwt")
    page.click("main summary")
    shot("client-invoices-jwt")
    page.click("#revoke")
    shot("client-revoked")
    page.click("#refresh")
    shot("client-refreshed")
    page.goto(f"{stack.auth}/")
    shot("auth-home-signed-in")
    page.goto(f"{stack.auth}/apps")
    shot("auth-apps")
    page.click("#disconnect-tally")
    shot("auth-apps-none")
    page.goto(f"{stack.client}/invoices")
    shot("client-refused")
    page.click("#refresh")
    shot("client-refresh-refused")


def _walk_openid(page: Page, stack: Stack, shot: Shot) -> None:
    page.goto(f"{stack.client}/me")
    shot("client-not-signed-in")
    page.goto(f"{stack.client}/")
    page.click("#sign-in")
    shot("auth-consent-openid")
    page.click("#consent-allow")
    shot("client-me")
    page.click("#again-silent")
    page.click("#again-login")
    shot("auth-sign-in-again")
    page.fill("#username", "alice")
    page.fill("#password", "wonderland-lab")
    page.click("#login-submit")
    page.goto(f"{stack.client}/")
    shot("client-home-signed-in")
    page.goto(f"{stack.client}/me")
    page.click("#sign-out")
    shot("client-signed-out")


def walk_lab(page: Page, stack: Stack, shot: Shot) -> str:
    """The pages that only the lab has: the catalog, the comparison, and the observer's pictures.

    Returns:
        The URL of a refused flow in the observer.
    """
    page.goto(f"{stack.auth}/sign-out")
    if page.locator("#logout-confirm").count():
        page.click("#logout-confirm")
    page.goto(f"{stack.observer}/")
    shot("observer-flows")
    page.goto(f"{stack.observer}/flows/none")
    shot("observer-404")
    page.goto(f"{stack.client}/compare")
    shot("compare-not-connected")
    page.goto(f"{stack.client}/")
    page.click("#connect")
    page.fill("#username", "alice")
    page.fill("#password", "wonderland-lab")
    page.click("#login-submit")

    def picture(name: str, link: Locator) -> None:
        address = link.get_attribute("href")
        assert address is not None
        page.goto(address)
        shot(f"observer-{name}")
        page.goto(f"{page.url.partition('?')[0]}?view=everything&message=3#inspector")
        shot(f"observer-{name}-everything")

    beside, as_a_picture = page.locator("a[href*='/of/']").first, page.get_by_role("link", name="Open in the observer")
    if page.locator("#consent-deny").count():
        page.click("#consent-deny")
        picture("denied", beside)
        page.goto(f"{stack.client}/")
        page.click("#connect")
        page.click("#consent-allow")
    picture("plain", beside)
    if "resource-service" in stack.pids:
        with suspended(stack.pids["resource-service"]):
            page.goto(f"{stack.client}/invoices")
            picture("unanswered", beside)
    page.goto(f"{stack.client}/flows")
    shot("catalog")
    run_flow(page, stack, "wrong_verifier")
    shot("catalog-refused")
    picture("refused", as_a_picture)
    run_flow(page, stack, "replayed_code")
    picture("replayed", as_a_picture)
    replayed = page.url.partition("?")[0]
    page.goto(f"{stack.client}/compare")
    page.get_by_role("button", name="Send it with both methods").click()
    page.get_by_role("button", name="Revoke the token").click()
    page.wait_for_load_state()
    shot("compare-revoked")
    page.goto(f"{stack.auth}/apps")  # so that a second walk sees the consent page again
    while page.locator("#disconnect-tally").count():
        page.locator("#disconnect-tally").first.click()
    page.goto(f"{stack.auth}/sign-out")
    page.click("#logout-confirm")
    return replayed


def run_flow(page: Page, stack: Stack, name: str) -> None:
    """Run a flow of the catalog, in which the person allows what they are asked for."""
    page.goto(f"{stack.client}/flows/{name}")
    page.locator("form[action$='/start'] button").first.click()
    if page.locator("#consent-allow").count():
        page.click("#consent-allow")


def walk_observer(page: Page, stack: Stack, flow: str, shot: Shot) -> None:
    """The observer's other looks at a refused flow, and its list."""
    page.goto(flow)
    page.locator(".row.response.refused a.message").first.click()
    page.wait_for_selector("#flow.inspected")
    page.mouse.move(0, 0)  # a value under the pointer dims the others
    shot("observer-inspector")
    page.goto(f"{flow}?embedded")
    shot("observer-embedded")
    page.goto(f"{flow}?present")
    shot("observer-present")
    for _ in range(40):
        if page.locator(".row.now.refused").count():
            break
        page.keyboard.press("ArrowRight")
    shot("observer-present-refused")
    page.keyboard.press("End")
    shot("observer-present-end")
    page.goto(f"{stack.observer}/?outcome=refused")
    shot("observer-flows-filtered")
    page.goto(f"{stack.observer}/?client=nobody")
    shot("observer-flows-none")
    page.goto(f"{stack.observer}/docs/")
    shot("observer-docs")


def walk(page: Page, stack: Stack, folder: Path, shot: Shot) -> str:
    """Every page in every state, once; the browser is signed out before and after.

    Returns:
        The URL of a refused flow in the observer.
    """
    walk_flow(page, stack, shot)
    walk_asking(page, stack, shot)
    walk_names(page, stack, shot)
    refused = walk_lab(page, stack, shot)
    walk_tally(page, stack.redis_url, shot)
    walk_sign_in(page, stack.redis_url, shot)
    walk_accounts(page, folder, stack.redis_url, shot)
    for name in ("front-away", "front-refused"):
        page.goto((Path(__file__).parents[3] / "compose" / "front" / f"{name}.html").as_uri())
        shot(name)
    return refused
