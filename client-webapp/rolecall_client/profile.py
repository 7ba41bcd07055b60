"""Tally's pages of OpenID Connect: sign in, who is signed in and how Tally knows, sign out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from flask import flash, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from rolecall import audit, clock
from rolecall.web.errors import PageError, Problem
from rolecall.web.headers import allow_form_targets, origin_of
from rolecall_client import flows
from rolecall_client.errors import explained
from rolecall_client.services import services
from rolecall_client.told import moment

_MEANS: Final[Mapping[str, str]] = {
    "iss": "who says so",
    "sub": "who it is: a name for this person that never changes and is never given to another",
    "aud": "for whom it is said: Tally alone",
    "azp": "to whom it was issued",
    "exp": "until when it may be taken as news",
    "iat": "when it was said",
    "auth_time": "when the person last proved who they are",
    "nonce": "to which request of Tally's it answers",
    "at_hash": "which access token came with it",
    "amr": "how the person proved it",
    "acr": "how much that proves",
    "sid": "the session at the authorization server",
}
"""The claims of every ID token (OpenID Connect Core section 2), for people."""

_TIMES: Final = ("exp", "iat", "auth_time", "updated_at")


@explained
def sign_in() -> ResponseReturnValue:
    """POST /sign-in: begin the flow, send the browser on; `again` is how (see the flow)."""
    again = request.form.get("again", "")
    again = again if again in flows.sign_in.AGAIN else ""
    return redirect(services().runner.start("sign_in", services().sessions.browser(), again=again), 303)


def me() -> ResponseReturnValue:
    """GET /me: who is signed in, what the ID token and userinfo say, and what being signed in is and is not."""
    person = services().sessions.person()
    if person is None:
        raise PageError(
            Problem(
                403,
                "You are not signed in to Tally",
                "Tally does not know who you are: nobody has signed in with this browser, or the session has ended.",
                (("Back to the first page", "/"),),
                is_error=False,
            )
        )
    claims, userinfo = person["claims"], person["userinfo"]
    response = make_response(
        render_template(
            "me.html",
            name=str(userinfo.get("name") or claims["sub"]),
            claims=[(name, _MEANS.get(name, ""), _shown(name, value)) for name, value in claims.items()],
            userinfo=[(name, _shown(name, value)) for name, value in userinfo.items()],
            connected=services().sessions.tokens() is not None,
            came_with=person["request_id"],
            since=moment(claims["auth_time"], clock.now()) if "auth_time" in claims else "",
        )
    )
    # to prove it again leads to the authorization server, and from there back to us
    allow_form_targets(response, origin_of(services().settings.issuer))
    return response


@explained
def sign_out() -> ResponseReturnValue:
    """POST /sign-out: Tally forgets who you are; the authorization server does not."""
    if person := services().sessions.person():
        services().sessions.sign_out()
        audit.record("signed_out", subject=person["claims"]["sub"])
    flash(
        "You are signed out of Tally. At the authorization server you are still signed in, so the next sign-in may "
        "ask for nothing. Whether Tally is connected to your invoices has not changed either."
    )
    return redirect(url_for("home"), 303)


def _shown(name: str, value: Any) -> str:
    """A claim as people read it; the server is another party, and may say anything."""
    if name in _TIMES and isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e11:
        return f"{value} ({moment(value, clock.now())})"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(str(each) for each in value)
    if isinstance(value, dict):
        return "; ".join(f"{key}: {each}" for key, each in value.items())
    return str(value)
