"""The authorization server's pages in states that a plain flow does not reach."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from cryptography.fernet import Fernet, MultiFernet
from flask import Flask
from limits import parse
from playwright.sync_api import Page

import rolecall_auth
from rolecall_auth.models import user
from rolecall_auth.settings import Settings
from support.auth_server import CHALLENGE, authorize_url, make_server, make_settings
from support.browser.serving import Shot, serving
from support.stack import Stack

CALLBACK = "https://app.example/callback"
"""An address without a server, because the pages of interest come before the redirect."""


def accounts(folder: Path, redis_url: str, **changes: Any) -> Flask:
    """Return an authorization server with an empty database, for its error pages."""
    return rolecall_auth.create_app(
        Settings(
            issuer="http://auth.test", redis_url=redis_url, database_url=f"sqlite:///{folder / 'auth.db'}",
            secret_key="a secret key of the tests, long enough", log_level="CRITICAL",
            data_key=MultiFernet([Fernet(Fernet.generate_key())]), **changes,
        )
    )  # fmt: skip


def registered(stack: Stack, name: str, **metadata: Any) -> str:
    """Register a client with this metadata (RFC 7591 section 2); return its client_id."""
    asked = {
        "client_name": name,
        "redirect_uris": [CALLBACK],
        "token_endpoint_auth_method": "none",
        "scope": "openid profile",
        **metadata,
    }
    body = json.dumps(asked).encode()
    status, answer = stack.call("POST", f"{stack.auth}/register", body, Content_Type="application/json")
    assert status == 201, answer
    return str(answer["client_id"])


def asks(stack: Stack, client_id: str, **more: str) -> str:
    """Return the URL of an authentication request of such a client."""
    asked = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": CALLBACK,
        "scope": "openid profile",
        "state": "s",
        "nonce": "n",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        **more,
    }
    return f"{stack.auth}/authorize?{urlencode(asked)}"


def walk_asking(page: Page, stack: Stack, shot: Shot) -> None:
    """The pages for requests of a registered client: a choice of account, consent, and the response in a form."""
    page.goto(f"{stack.auth}/sign-in")
    page.fill("#username", "alice")
    page.fill("#password", "wonderland-lab")
    page.click("#login-submit")
    plain = registered(stack, "A client of few words")
    page.goto(asks(stack, plain, prompt="select_account"))
    shot("auth-select-account")
    page.click("#go-on")
    shot("auth-consent-registered")
    introduced = registered(
        stack,
        "Tally (with a logo)",
        logo_uri=f"{stack.client}/flows/static/tally.png",
        policy_uri="https://app.example/what-becomes-of-what-we-learn",
        tos_uri="https://terms.app.example/",
    )
    page.goto(asks(stack, introduced, response_mode="form_post"))
    shot("auth-consent-introduced")
    page.route("**/form_post.js", lambda route: route.abort())
    page.click("#consent-allow")
    shot("auth-form-post")
    page.unroute("**/form_post.js")
    page.goto(f"{stack.auth}/sign-out")
    page.click("#logout-confirm")


@contextmanager
def many_sign_in() -> Iterator[None]:
    """Fill the queue of passwords to hash in this process."""
    taken = 0
    while user._queue.acquire(blocking=False):
        taken += 1
    try:
        yield
    finally:
        user._queue.release(taken)


def sign_up(page: Page, address: str, name: str, password: str) -> None:
    """Submit the form without the validation by the browser."""
    page.goto(f"{address}/sign-up")
    page.eval_on_selector("form", "form => form.noValidate = true")
    page.fill("#username", name)
    page.fill("#password", password)
    page.click("#signup-submit")


def walk_accounts(page: Page, folder: Path, redis_url: str, shot: Shot) -> None:
    """The error pages of the authorization server."""
    away = accounts(folder, "redis://127.0.0.1:1/0")
    with serving(away) as address:
        page.context.add_cookies([{"name": away.config["SESSION_COOKIE_NAME"], "value": "x", "url": address}])
        page.goto(f"{address}/sign-in?interaction={'i' * 43}")
        shot("auth-503")
        page.goto(f"{address}/nowhere")
        shot("auth-404-while-redis-is-away")
    with serving(accounts(folder, redis_url, sign_in_address_limit=parse("1/hour"))) as address:
        page.goto(f"{address}/sign-in")
        for _ in range(2):
            page.goto(f"{address}/sign-in")
            page.fill("#username", "somebody")
            page.fill("#password", "something")
            page.click("#login-submit")
        shot("auth-429")
        page.goto(f"{address}/sign-up")
        shot("auth-sign-up-closed")
        page.goto(f"{address}/apps/disconnect")
        shot("auth-405")
        page.goto(f"{address}/sign-in")
        page.context.clear_cookies()
        page.fill("#username", "somebody")
        page.fill("#password", "something")
        page.click("#login-submit")
        shot("auth-too-old")
        page.goto(f"{address}/sign-in")
        page.evaluate("document.querySelector('#username').value = 'x'.repeat(70000)")
        page.fill("#password", "something")
        page.click("#login-submit")
        shot("auth-413")
    server = make_server(make_settings(folder, redis_url))
    with serving(server.app) as address:
        sign_up(page, address, "!", "short")
        shot("auth-sign-up-faults")
        page.goto(f"{address}/sign-in")
        page.fill("#username", "alice")
        page.fill("#password", "wonderland-lab")
        with many_sign_in():
            page.click("#login-submit")
        shot("auth-busy")
    once = {name: parse("1/hour") for name in ("sign_up_limit", "authorization_limit")}
    with serving(rolecall_auth.create_app(replace(server.services.settings, **once))) as address:
        for _ in range(2):
            sign_up(page, address, "somebody", "long enough")
            page.context.clear_cookies()
        shot("auth-429-sign-up")
        for _ in range(2):
            page.goto(address + authorize_url())
        shot("auth-429-authorization")
    server.services.database.engine.dispose()
