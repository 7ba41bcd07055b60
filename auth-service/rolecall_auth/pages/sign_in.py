"""The sign-in page, which verifies a username and password and starts a session."""

from __future__ import annotations

from dataclasses import replace

from flask import current_app, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from rolecall import audit
from rolecall.limits import network
from rolecall.storage import digest
from rolecall.web.headers import let_forms_leave
from rolecall_auth.limits import SIGN_IN, SIGN_IN_ADDRESS, account
from rolecall_auth.models.session import SignIn
from rolecall_auth.models.user import User, authenticate, normal_username
from rolecall_auth.pages import known_browser
from rolecall_auth.pages.request import PendingRequest, pending_request
from rolecall_auth.services import services


def sign_in() -> ResponseReturnValue:
    """Show the form (GET), or sign the person in and continue with the pending request (POST)."""
    pending = pending_request("sign-in")
    current = services().sessions.current()
    if current is not None and _is_sufficient(pending, current):
        return redirect(next_url(pending), 303)
    # only verified here, because a form that was opened before a sign-in in another tab can simply continue
    current_app.extensions["csrf"].protect()
    if request.method != "POST":
        return _form(pending, _suggested_username(pending, current), None, current)
    if current is not None and pending is not None and "go-on" in request.form:
        services().interactions.choose(pending.name, pending.interaction, current.user_id)
        return redirect(next_url(pending), 303)
    username, password = request.form.get("username", "")[:200], request.form.get("password", "")[:1000]
    user = _authenticate(username, password) if username and password else None
    if user is None:
        audit.record("sign_in_failed", account=digest(normal_username(username))[:16])
        return _form(
            pending,
            username,
            "The username or password is incorrect. Try again; passwords are case-sensitive.",
        )
    services().sessions.begin(user.id, user.username)
    audit.record("signed_in", user_id=user.id)
    response = redirect(next_url(pending), 303)
    known_browser.remember(response, user.username)
    return response


def _authenticate(username: str, password: str) -> User | None:
    """Return the user, or None. The attempt is counted before the password is verified."""
    name, limits = normal_username(username), services().limits
    key = account(name, known_browser.device(username))
    limits.count(SIGN_IN_ADDRESS, network(request.remote_addr))
    limits.count(SIGN_IN, *key)
    with services().database.read() as session:
        user = authenticate(session, username, password)
    if user is not None:
        limits.reset(SIGN_IN, *key)
    return user


def _is_sufficient(pending: PendingRequest | None, current: SignIn) -> bool:
    """Return whether the current sign-in satisfies the request (OpenID Connect Core section 3.1.2.3)."""
    return pending is None or pending.wanted.accepts(current, pending.interaction)


def _suggested_username(pending: PendingRequest | None, current: SignIn | None) -> str:
    """Return the username to fill in: the client's `login_hint`, or that of the current user."""
    hint = pending.interaction.parameters.get("login_hint", "") if pending else ""
    return hint or (current.username if current is not None else "")


def next_url(pending: PendingRequest | None) -> str:
    """Return the URL of the pending request, or of the connected apps."""
    if pending is None:
        return url_for("apps")
    return url_for("authorize", interaction=pending.name)


def _form(
    pending: PendingRequest | None, username: str, problem: str | None, current: SignIn | None = None
) -> ResponseReturnValue:
    """Render the page; if the client only requires the selection of an account, the current user can continue."""
    can_continue = (
        current is not None
        and pending is not None
        and pending.wanted.accepts(current, replace(pending.interaction, chosen=current.user_id))
    )
    page = render_template(
        "sign_in.html",
        waiting=pending,
        username="" if can_continue else username,
        problem=problem,
        who=current if can_continue else None,
        again=current is not None and not can_continue,
    )
    response = make_response(page, 403 if problem else 200)
    if pending is not None:
        let_forms_leave(response)
    return response
