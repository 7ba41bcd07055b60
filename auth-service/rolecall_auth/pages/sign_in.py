"""Sign-in: a name and a password, a new session."""

from __future__ import annotations

from dataclasses import replace

from flask import current_app, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from rolecall import audit
from rolecall.storage import digest
from rolecall_auth.models.session import SignIn
from rolecall_auth.models.user import User, authenticate, normal_username
from rolecall_auth.pages import known_browser
from rolecall_auth.pages.request import Waiting, waiting
from rolecall_auth.services import services


def sign_in() -> ResponseReturnValue:
    """GET shows the form, POST checks it and goes on to where the person was going."""
    request_waiting = waiting("sign-in")
    who = services().sessions.current()
    if who is not None and _is_enough(request_waiting, who):
        return redirect(where_next(request_waiting), 303)
    # looked at here and not before: a form from before the sign-in in another tab only has to go on
    current_app.extensions["csrf"].protect()
    if request.method != "POST":
        return _form(request_waiting, _expected(request_waiting, who), None, who)
    if who is not None and request_waiting is not None and "go-on" in request.form:
        services().interactions.choose(request_waiting.name, request_waiting.interaction, who.user_id)
        return redirect(where_next(request_waiting), 303)
    username, password = request.form.get("username", "")[:200], request.form.get("password", "")[:1000]
    user = _authenticated(username, password) if username and password else None
    if user is None:
        audit.record("sign_in_failed", account=digest(normal_username(username))[:16])
        return _form(
            request_waiting,
            username,
            "The name or the password is not right. Please try again; capitals count in the password.",
        )
    services().sessions.begin(user.id, user.username)
    audit.record("signed_in", user_id=user.id)
    response = redirect(where_next(request_waiting), 303)
    known_browser.remember(response, user.username)
    return response


def _authenticated(username: str, password: str) -> User | None:
    """The person; every attempt is counted before the password is looked at."""
    name, device = normal_username(username), known_browser.device(username)
    services().throttles.sign_in(name, request.remote_addr or "", device)
    with services().database.read() as session:
        user = authenticate(session, name, password)
    if user is not None:
        services().throttles.signed_in(name, device)
    return user


def _is_enough(request_waiting: Waiting | None, who: SignIn) -> bool:
    """Whether nobody has to sign in (again): a client may want it (OpenID Connect Core section 3.1.2.3)."""
    return request_waiting is None or request_waiting.wanted.accepts(who, request_waiting.interaction)


def _expected(request_waiting: Waiting | None, who: SignIn | None) -> str:
    """The name to begin with: what the client hints at, else who is signed in."""
    hint = request_waiting.interaction.parameters.get("login_hint", "") if request_waiting else ""
    return hint or (who.username if who is not None else "")


def where_next(request_waiting: Waiting | None) -> str:
    """Back to the waiting request, or to the connected apps."""
    if request_waiting is None:
        return url_for("apps")
    return url_for("authorize", interaction=request_waiting.name)


def _form(
    request_waiting: Waiting | None, username: str, problem: str | None, who: SignIn | None = None
) -> ResponseReturnValue:
    """The page; who is signed in already may go on as that person where the client only wants a choice."""
    may_go_on = (
        who is not None
        and request_waiting is not None
        and request_waiting.wanted.accepts(who, replace(request_waiting.interaction, chosen=who.user_id))
    )
    page = render_template(
        "sign_in.html",
        waiting=request_waiting,
        username="" if may_go_on else username,
        problem=problem,
        who=who if may_go_on else None,
        again=who is not None and not may_go_on,
    )
    response = make_response(page, 403 if problem else 200)
    return request_waiting.allow_answer(response) if request_waiting else response
