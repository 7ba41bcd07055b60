"""What people open and send, for the description."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rolecall.openapi import Operation, Operations, Schema, html, redirect, string, unavailable
from rolecall_auth.models.user import MAX_PASSWORD, MIN_PASSWORD
from rolecall_auth.openapi.parameters import SESSION, TOO_MANY, guard_checks, in_query

_LOST: Final = "The request that the address names waits no longer."
_OLD_FORM: Final = "The form was opened before the session changed, or its request waits no longer."


def page_operations() -> Operations:
    """What people open and send; every form but that of sign-in is refused without its csrf_token."""
    waiting = {name: (in_query(name, "interaction"),) for name in ("sign-in", "sign-up", "consent")}
    lost = {name: guard_checks(name, "interaction") for name in waiting}
    username = string(description="2 to 40 letters, digits, dots, hyphens or underscores.")
    password = string(minLength=MIN_PASSWORD, maxLength=MAX_PASSWORD)
    closed_sign_up = html(403, "Nobody makes an account alone here (SIGN_UP).")
    to_sign_in = redirect("Nobody is signed in: to sign-in.")
    return {
        ("home", "GET"): Operation("The first page", (html(200, "The page."), unavailable("page")), security=SESSION),
        ("sign-in", "GET"): Operation(
            "Sign in",
            (
                html(200, "The form."),
                redirect("Signed in already: back to where the person was going."),
                html(400, _LOST, checks=lost["sign-in"]),
                unavailable("page"),
            ),
            waiting["sign-in"],
            security=SESSION,
        ),
        ("sign-in", "POST"): Operation(
            "Sign in",
            (
                redirect("Signed in: back to where the person was going."),
                html(400, _OLD_FORM, checks=lost["sign-in"]),
                html(403, "The name or the password is wrong; which of them is not said."),
                TOO_MANY,
                unavailable("page"),
            ),
            waiting["sign-in"],
            _fields({"username": string(maxLength=200), "password": string(maxLength=1000)}),
            SESSION,
        ),
        ("sign-up", "GET"): Operation(
            "Make an account",
            (
                html(200, "The form."),
                html(400, _LOST, checks=lost["sign-up"]),
                closed_sign_up,
                unavailable("page"),
            ),
            waiting["sign-up"],
        ),
        ("sign-up", "POST"): Operation(
            "Make an account",
            (
                redirect("Made, and signed in."),
                html(400, f"{_OLD_FORM} Or the name or the password cannot be taken.", checks=lost["sign-up"]),
                closed_sign_up,
                TOO_MANY,
                unavailable("page"),
            ),
            waiting["sign-up"],
            _fields({"username": username, "password": password}),
            SESSION,
        ),
        ("consent", "GET"): Operation(
            "Decide about a request",
            (html(200, "The question."), to_sign_in, html(400, _LOST, checks=lost["consent"]), unavailable("page")),
            waiting["consent"],
            security=SESSION,
        ),
        ("consent", "POST"): Operation(
            "Decide about a request",
            (
                html(200, "No decision: the question again."),
                redirect("Decided: back to /authorize, which answers the client. Or to sign-in."),
                html(400, _OLD_FORM, checks=lost["consent"]),
                unavailable("page"),
            ),
            waiting["consent"],
            _fields({"decision": string(enum=["allow", "deny"])}),
            SESSION,
        ),
        ("apps", "GET"): Operation(
            "What apps may do", (html(200, "The apps."), to_sign_in, unavailable("page")), security=SESSION
        ),
        ("disconnect", "POST"): Operation(
            "Take back what an app may do",
            (redirect("Taken back. Or to sign-in."), html(400, _OLD_FORM), unavailable("page")),
            form=_fields({"client_id": string(maxLength=100)}),
            security=SESSION,
        ),
        ("sign-out", "GET"): Operation("Sign out", (html(200, "The question."), unavailable("page")), security=SESSION),
        ("sign-out", "POST"): Operation(
            "Sign out",
            (redirect("Signed out."), html(400, _OLD_FORM), unavailable("page")),
            form=_fields({}),
            security=SESSION,
        ),
    }


def _fields(properties: Mapping[str, Schema]) -> Schema:
    """The fields of a page's own form."""
    with_token = {**properties, "csrf_token": string(description="As it stands in the page.")}
    return {"type": "object", "properties": with_token, "required": list(with_token)}
