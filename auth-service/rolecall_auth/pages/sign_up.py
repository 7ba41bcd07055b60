"""The sign-up page, where people create accounts if the settings allow it."""

from __future__ import annotations

import sqlalchemy as sa
from flask import make_response, redirect, render_template, request
from flask.typing import ResponseReturnValue

from rolecall import audit, events
from rolecall.limits import network
from rolecall.web.errors import PageError, Problem
from rolecall.web.headers import let_forms_leave
from rolecall_auth.limits import SIGN_UP
from rolecall_auth.models.user import MAX_PASSWORD, MIN_PASSWORD, User, account_faults, hash_password, normal_username
from rolecall_auth.pages.request import PendingRequest, pending_request
from rolecall_auth.pages.sign_in import next_url
from rolecall_auth.services import services


def sign_up() -> ResponseReturnValue:
    """Show the form (GET), or create the account and sign the person in (POST)."""
    if services().settings.sign_up != "open":
        raise PageError(
            Problem(
                403,
                "Sign-up is closed",
                "Only the administrator of this server can create accounts.",
                (("Sign in", "/sign-in"),),
            )
        )
    pending = pending_request("sign-up")
    if request.method != "POST":
        return _form(pending, "", {})
    typed, password = request.form.get("username", "")[:200], request.form.get("password", "")
    username = normal_username(typed)
    problems = account_faults(username, password)
    if not problems:
        services().limits.count(SIGN_UP, network(request.remote_addr))
    user = None if problems else _create(username, password)
    if not problems:
        events.note("identity", value=typed)  # the name of this account, or of an existing one
    if user is None:
        problems = problems or {"username": "This username is taken. Choose another."}
        return _form(pending, username[:60], problems)
    services().sessions.begin(user.id, user.username)
    audit.record("signed_up", user_id=user.id)
    return redirect(next_url(pending), 303)


def _create(username: str, password: str) -> User | None:
    user = User(username=username, password_hash=hash_password(password))
    try:
        with services().database.transaction() as session:
            session.add(user)
    except sa.exc.IntegrityError:
        return None
    return user


def _form(pending: PendingRequest | None, username: str, problems: dict[str, str]) -> ResponseReturnValue:
    page = render_template(
        "sign_up.html",
        waiting=pending,
        username=username,
        problems=problems,
        min_password=MIN_PASSWORD,
        max_password=MAX_PASSWORD,
    )
    response = make_response(page, 400 if problems else 200)
    if pending is not None:
        let_forms_leave(response)
    return response
