"""Sign-up: an account of one's own, where the settings allow it."""

from __future__ import annotations

import sqlalchemy as sa
from flask import make_response, redirect, render_template, request
from flask.typing import ResponseReturnValue

from rolecall import audit
from rolecall.web.errors import PageError, Problem
from rolecall_auth.models.user import MAX_PASSWORD, MIN_PASSWORD, User, account_faults, hash_password, normal_username
from rolecall_auth.pages.request import Waiting, waiting
from rolecall_auth.pages.sign_in import where_next
from rolecall_auth.services import services


def sign_up() -> ResponseReturnValue:
    """GET shows the form, POST makes the account and signs its person in."""
    if services().settings.sign_up != "open":
        raise PageError(
            Problem(
                403,
                "Accounts are made by the administrator here",
                "This server lets nobody make an account alone. Ask whoever runs it for one.",
                (("Sign in", "/sign-in"),),
            )
        )
    request_waiting = waiting("sign-up")
    if request.method != "POST":
        return _form(request_waiting, "", {})
    username, password = normal_username(request.form.get("username", "")[:200]), request.form.get("password", "")
    problems = account_faults(username, password)
    if not problems:
        services().throttles.sign_up(request.remote_addr or "")
    user = None if problems else _create(username, password)
    if user is None:
        problems = problems or {"username": "Somebody has this name already. Please choose another one."}
        return _form(request_waiting, username[:60], problems)
    services().sessions.begin(user.id, user.username)
    audit.record("signed_up", user_id=user.id)
    return redirect(where_next(request_waiting), 303)


def _create(username: str, password: str) -> User | None:
    user = User(username=username, password_hash=hash_password(password))
    try:
        with services().database.transaction() as session:
            session.add(user)
    except sa.exc.IntegrityError:
        return None
    return user


def _form(request_waiting: Waiting | None, username: str, problems: dict[str, str]) -> ResponseReturnValue:
    page = render_template(
        "sign_up.html",
        waiting=request_waiting,
        username=username,
        problems=problems,
        min_password=MIN_PASSWORD,
        max_password=MAX_PASSWORD,
    )
    response = make_response(page, 400 if problems else 200)
    return request_waiting.allow_answer(response) if request_waiting else response
