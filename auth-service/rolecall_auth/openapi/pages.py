"""The OpenAPI operations of the pages. Every form except that of sign-in is rejected without its csrf_token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rolecall.limits import too_many
from rolecall.openapi import Operation, Operations, Schema, html, redirect, string, unavailable
from rolecall_auth import limits
from rolecall_auth.models.user import MAX_PASSWORD, MIN_PASSWORD
from rolecall_auth.openapi.parameters import SESSION, guard_checks, in_query
from rolecall_auth.openid import scopes

_NOT_PENDING: Final = "The request named in the URL is no longer pending."
_OLD_FORM: Final = "The form was opened before the session changed, or its request is no longer pending."

_FROM_PAGE: Final = "The value from the page."

_SIGN_UP_CLOSED: Final = html(403, "Sign-up is closed (SIGN_UP).")
_TO_SIGN_IN: Final = redirect("Not signed in: to sign-in.")

_INVALID: Final = "No longer valid: to /authorize, which sends the client the error."
_OF_THE_REQUEST: Final = (scopes.SCOPE, scopes.TARGET)
"""The checks of a pending request, which fail on a page only if the client's registration has changed."""


def page_operations() -> Operations:
    """Return the operations of all pages."""
    return {
        ("home", "GET"): Operation("Home page", (html(200, "The page."), unavailable("page")), security=SESSION),
        **_sign_in_operations(),
        **_sign_up_operations(),
        **_consent_operations(),
        ("apps", "GET"): Operation(
            "List connected apps", (html(200, "The apps."), _TO_SIGN_IN, unavailable("page")), security=SESSION
        ),
        ("disconnect", "POST"): Operation(
            "Disconnect an app",
            (redirect("Disconnected, or not signed in: to sign-in."), html(400, _OLD_FORM), unavailable("page")),
            form=_form({"client_id": string(maxLength=100)}),
            security=SESSION,
        ),
        ("sign-out", "GET"): Operation(
            "Sign out", (html(200, "The confirmation page."), unavailable("page")), security=SESSION
        ),
        ("sign-out", "POST"): Operation(
            "Sign out",
            (redirect("Signed out."), html(400, _OLD_FORM), unavailable("page")),
            form=_form({}),
            security=SESSION,
        ),
    }


def _sign_in_operations() -> Operations:
    interaction, guard = (in_query("sign-in", "interaction"),), guard_checks("sign-in", "interaction")
    return {
        ("sign-in", "GET"): Operation(
            "Sign in",
            (
                html(200, "The form."),
                redirect(
                    f"Already signed in: to the pending request, or to the connected apps. {_INVALID}", *_OF_THE_REQUEST
                ),
                html(400, _NOT_PENDING, checks=guard),
                unavailable("page"),
            ),
            interaction,
            security=SESSION,
        ),
        ("sign-in", "POST"): Operation(
            "Sign in",
            (
                redirect(f"Signed in: to the pending request, or to the connected apps. {_INVALID}", *_OF_THE_REQUEST),
                html(400, _OLD_FORM, checks=guard),
                html(403, "The username or password is incorrect."),
                too_many("page", limits.SIGN_IN, limits.SIGN_IN_ADDRESS),
                unavailable("page"),
            ),
            interaction,
            _form({"username": string(maxLength=200), "password": string(maxLength=1000)}),
            SESSION,
        ),
    }


def _sign_up_operations() -> Operations:
    interaction, guard = (in_query("sign-up", "interaction"),), guard_checks("sign-up", "interaction")
    username = string(description="2 to 40 letters, digits, dots, hyphens, or underscores.")
    password = string(minLength=MIN_PASSWORD, maxLength=MAX_PASSWORD)
    return {
        ("sign-up", "GET"): Operation(
            "Create an account",
            (
                html(200, "The form."),
                redirect(_INVALID, *_OF_THE_REQUEST),
                html(400, _NOT_PENDING, checks=guard),
                _SIGN_UP_CLOSED,
                unavailable("page"),
            ),
            interaction,
        ),
        ("sign-up", "POST"): Operation(
            "Create an account",
            (
                redirect(f"Created, and signed in. {_INVALID}", *_OF_THE_REQUEST),
                html(400, f"{_OLD_FORM} Or the username or password is not allowed.", checks=guard),
                _SIGN_UP_CLOSED,
                too_many("page", limits.SIGN_UP),
                unavailable("page"),
            ),
            interaction,
            _form({"username": username, "password": password}),
            SESSION,
        ),
    }


def _consent_operations() -> Operations:
    interaction, guard = (in_query("consent", "interaction"),), guard_checks("consent", "interaction")
    return {
        ("consent", "GET"): Operation(
            "Decide about a request",
            (
                html(200, "The page."),
                redirect(f"Not signed in: to sign-in. {_INVALID}", *_OF_THE_REQUEST),
                html(400, _NOT_PENDING, checks=guard),
                unavailable("page"),
            ),
            interaction,
            security=SESSION,
        ),
        ("consent", "POST"): Operation(
            "Decide about a request",
            (
                html(200, "No valid decision was sent: the page again."),
                redirect(f"Decided: to /authorize. Not signed in: to sign-in. {_INVALID}", *_OF_THE_REQUEST),
                html(400, _OLD_FORM, checks=guard),
                html(409, "The request has changed since the page was opened: the page again."),
                unavailable("page"),
            ),
            interaction,
            _form({"decision": string(enum=["allow", "deny"]), "request": string(description=_FROM_PAGE)}),
            SESSION,
        ),
    }


def _form(properties: Mapping[str, Schema]) -> Schema:
    """Return the schema of a page's form."""
    with_token = {**properties, "csrf_token": string(description=_FROM_PAGE)}
    return {"type": "object", "properties": with_token, "required": list(with_token)}
