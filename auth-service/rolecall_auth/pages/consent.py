"""Consent: who asks, for what, for how long, and what it will not see (RFC 6749 section 4.1.1 step B).

A client that registered itself may call itself what it likes, and show a logo of somebody else: RFC 7591 section 5
leaves it to the server to warn, to compare hosts or to refuse. People are warned each time, and see the hosts of its
links and where the answer goes; hosts are not compared, because logos are often kept at another one.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import sqlalchemy as sa
from flask import make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from rolecall import audit
from rolecall.web.errors import PageError, Problem
from rolecall_auth.models.consent import remember
from rolecall_auth.models.logo import Logo
from rolecall_auth.models.user import is_active
from rolecall_auth.pages.request import Waiting, waiting
from rolecall_auth.pages.who import who
from rolecall_auth.services import services


def consent() -> ResponseReturnValue:
    """GET asks, POST notes the answer and goes back to /authorize, which acts on it."""
    request_waiting = waiting("consent")
    if request_waiting is None:
        raise PageError(
            Problem(
                400,
                "No app is asking",
                "This page opens when an app asks for access to something of yours. None does at this moment.",
                (("Connected apps", "/apps"),),
            )
        )
    person = who()
    if person is None:
        return redirect(url_for("sign-in", interaction=request_waiting.name), 303)
    if request.method != "POST":
        return _page(request_waiting)
    decision = request.form.get("decision")
    if decision not in {"allow", "deny"}:
        return _page(request_waiting)
    if decision == "allow" and not request_waiting.client.asks_every_time(request_waiting.redirect_uri):
        try:
            active = _remember(person.user_id, request_waiting)
        except sa.exc.IntegrityError:  # another tab was faster with the first consent; now there is one to add to
            active = _remember(person.user_id, request_waiting)
        if not active:
            services().sessions.end()
            return redirect(url_for("sign-in", interaction=request_waiting.name), 303)
    services().interactions.decide(request_waiting.name, request_waiting.interaction, person.user_id, decision)
    event = "consent_given" if decision == "allow" else "consent_denied"
    audit.record(event, user_id=person.user_id, client_id=request_waiting.client.client_id, scope=request_waiting.scope)
    return redirect(url_for("authorize", interaction=request_waiting.name), 303)


def _remember(user_id: str, request_waiting: Waiting) -> bool:
    """Keep the consent; False when the account is closed or disabled."""
    with services().database.transaction() as session:
        if not is_active(session, user_id):
            return False
        client_id, resource = request_waiting.client.client_id, request_waiting.resource.identifier
        remember(session, user_id, client_id, resource, request_waiting.scope)
    return True


def _has_logo(request_waiting: Waiting) -> bool:
    if request_waiting.client.logo_uri is None:
        return False
    with services().database.read() as session:
        return (
            session.scalar(sa.select(Logo.client_id).where(Logo.client_id == request_waiting.client.client_id))
            is not None
        )


def _page(request_waiting: Waiting) -> ResponseReturnValue:
    settings = services().settings
    asked = request_waiting.scope.split()
    others = [sentence for scope, sentence in request_waiting.resource.scopes.items() if scope not in asked]
    page = render_template(
        "consent.html",
        waiting=request_waiting,
        not_asked=others,
        token_minutes=max(1, settings.access_token_lifetime // 60),
        refreshes=request_waiting.client.check_grant_type("refresh_token")
        and ("openid" not in asked or "offline_access" in asked),
        refresh_days=max(1, settings.refresh_lifetime // 86400),
        logo=_has_logo(request_waiting),
        host_of=lambda uri: urlsplit(uri).hostname,
        remembered=not request_waiting.client.asks_every_time(request_waiting.redirect_uri),
    )
    return request_waiting.allow_answer(make_response(page))
