"""Sign-in: a name and a password, a new session."""

from __future__ import annotations

from flask import current_app, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from auth_service.models.user import User, authenticate, normal_username
from auth_service.pages import known_browser
from auth_service.pages.request import Waiting, waiting
from auth_service.state import state
from rolecall import audit
from rolecall.storage import digest


def sign_in() -> ResponseReturnValue:
    """GET shows the form, POST checks it and goes on to where the person was going."""
    request_waiting = waiting("sign-in")
    if state().sessions.current() is not None:
        return redirect(where_next(request_waiting), 303)
    # looked at here and not before: a form from before the sign-in in another tab only has to go on
    current_app.extensions["csrf"].protect()
    if request.method != "POST":
        return _form(request_waiting, "", None)
    username, password = request.form.get("username", "")[:200], request.form.get("password", "")[:1000]
    user = _authenticated(username, password) if username and password else None
    if user is None:
        audit.record("sign_in_failed", account=digest(normal_username(username))[:16])
        return _form(
            request_waiting,
            username,
            "The name or the password is not right. Please try again; capitals count in the password.",
        )
    state().sessions.begin(user.id, user.username)
    audit.record("signed_in", user_id=user.id)
    response = redirect(where_next(request_waiting), 303)
    known_browser.remember(response, user.username)
    return response


def _authenticated(username: str, password: str) -> User | None:
    """The person; every attempt is counted before the password is looked at."""
    name, device = normal_username(username), known_browser.device(username)
    state().throttles.sign_in(name, request.remote_addr or "", device)
    with state().database.read() as session:
        user = authenticate(session, name, password)
    if user is not None:
        state().throttles.signed_in(name, device)
    return user


def where_next(request_waiting: Waiting | None) -> str:
    """Back to the waiting request, or to the connected apps."""
    if request_waiting is None:
        return url_for("apps")
    return url_for("authorize", interaction=request_waiting.name)


def _form(request_waiting: Waiting | None, username: str, problem: str | None) -> ResponseReturnValue:
    page = render_template("sign_in.html", waiting=request_waiting, username=username, problem=problem)
    response = make_response(page, 403 if problem else 200)
    return request_waiting.allow_answer(response) if request_waiting else response
