"""Tally's pages for OpenID Connect: sign in, the signed-in user, and sign out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from flask import flash, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from rolecall import audit, clock
from rolecall.web.errors import PageError, Problem
from rolecall.web.headers import let_forms_leave
from rolecall_client import flows
from rolecall_client.errors import with_error_pages
from rolecall_client.services import services
from rolecall_client.times import moment

_MEANINGS: Final[Mapping[str, str]] = {
    "iss": "the issuer of the token",
    "sub": "the user: an identifier that never changes and is never reused",
    "aud": "the audience: Tally alone",
    "azp": "the client to which it was issued",
    "exp": "when the token expires",
    "iat": "when it was issued",
    "auth_time": "when the user last authenticated",
    "nonce": "links the token to Tally’s request",
    "at_hash": "a hash of the access token issued with it",
    "amr": "how the user authenticated",
    "acr": "the level of assurance of the authentication",
    "sid": "the session at the authorization server",
}
"""The meaning of each claim of an ID token (OpenID Connect Core section 2)."""

MAX_HINT: Final = 2000
"""Characters of the ID token up to which it is sent as `id_token_hint`, because the request is a URL."""

_TIMES: Final = ("exp", "iat", "auth_time", "updated_at")


@with_error_pages
def sign_in() -> ResponseReturnValue:
    """POST /sign-in: start the sign-in flow; `again` selects its parameters (see `flows.sign_in.AGAIN`)."""
    again = request.form.get("again", "")
    return start_sign_in(again if again in flows.sign_in.AGAIN else "")


def start_sign_in(again: str) -> ResponseReturnValue:
    """Redirect to the authorization server; a repeated sign-in must be that of the same user.

    Args:
        again: see `flows.sign_in.AGAIN`.
    """
    user = services().sessions.user() if again in flows.sign_in.SAME_USER else None
    same_user: dict[str, Any] = {}
    if user is not None:
        hint = user.get("id_token") or ""
        same_user = {"subject": user["claims"]["sub"], "id_token_hint": hint if len(hint) <= MAX_HINT else ""}
    return redirect(services().runner.start("sign_in", again=again, **same_user), 303)


def me() -> ResponseReturnValue:
    """GET /me: the signed-in user, the ID token, and the userinfo response."""
    user = services().sessions.user()
    if user is None:
        raise PageError(
            Problem(
                403,
                "You are not signed in to Tally",
                "You have not signed in with this browser, or your session has ended.",
                (("Back to the home page", "/"),),
                is_error=False,
            )
        )
    claims, userinfo = user["claims"], user["userinfo"]
    response = make_response(
        render_template(
            "me.html",
            name=str((userinfo or claims).get("name") or claims["sub"]),
            claims=[(name, _MEANINGS.get(name, ""), _display_text(name, value)) for name, value in claims.items()],
            userinfo=[(name, _display_text(name, value)) for name, value in (userinfo or {}).items()],
            has_userinfo=userinfo is not None,
            connected=services().sessions.tokens() is not None,
            came_with=user["request_id"],
            since=moment(claims["auth_time"], clock.now()) if "auth_time" in claims else "",
        )
    )
    let_forms_leave(response)  # to the authorization endpoint
    return response


@with_error_pages
def sign_out() -> ResponseReturnValue:
    """POST /sign-out: end the session at Tally, not at the authorization server."""
    if user := services().sessions.user():
        services().sessions.sign_out()
        audit.record("signed_out", subject=user["claims"]["sub"])
    flash(
        "You are signed out of Tally. You may still be signed in to the authorization server, so your next sign-in may "
        "not ask for a password. Tally’s connection to your invoices has not changed."
    )
    return redirect(url_for("home"), 303)


def _display_text(name: str, value: Any) -> str:
    """Return a claim as text. The server is another party, and the value can be of any type."""
    if name in _TIMES and isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e11:
        return f"{value} ({moment(value, clock.now())})"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(str(each) for each in value)
    if isinstance(value, dict):
        return "; ".join(f"{key}: {each}" for key, each in value.items())
    return str(value)
