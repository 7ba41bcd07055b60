"""The consent page: which client requests which access, and for how long (RFC 6749 section 4.1.1 step B).

A client that registered itself can use any name, and the logo of another company. RFC 7591 section 5 lets the server
warn people, compare hosts, or reject the client. This server always warns, and shows the hosts of the client's links
and the redirect URI. It does not compare hosts, because logos are often hosted elsewhere.
"""

from __future__ import annotations

from flask import make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from rolecall import audit
from rolecall.web.errors import PageError, Problem
from rolecall.web.headers import let_forms_leave
from rolecall_auth.models.consent import remember
from rolecall_auth.models.interaction import LOST
from rolecall_auth.models.user import is_active
from rolecall_auth.pages.current_user import current_user
from rolecall_auth.pages.request import PendingRequest, pending_request
from rolecall_auth.services import services


def consent() -> ResponseReturnValue:
    """Show the page (GET), or store the decision and redirect to /authorize, which acts on it (POST)."""
    pending = pending_request("consent")
    if pending is None:
        raise PageError(
            Problem(
                400,
                "No app is requesting access",
                "This page opens when an app requests access to your data.",
                (("Connected apps", "/apps"),),
            )
        )
    user = current_user()
    if user is None:
        return redirect(url_for("sign-in", interaction=pending.name), 303)
    decision = request.form.get("decision")
    if request.method != "POST" or decision not in {"allow", "deny"}:
        return _page(pending)
    if decision == "allow":
        # the field reveals an older page in another tab; programs may omit it
        fingerprint = request.form.get("request", pending.fingerprint)
        if pending.interaction.shown != pending.resolved or fingerprint != pending.fingerprint:
            return _page(pending, has_changed=True)
        if not pending.client.always_requires_consent(pending.redirect_uri) and not _remember(user.user_id, pending):
            services().sessions.end()
            return redirect(url_for("sign-in", interaction=pending.name), 303)
    if not services().interactions.decide(pending.name, pending.interaction, user.user_id, decision):
        raise PageError(LOST)
    event, scope = "consent_given" if decision == "allow" else "consent_denied", pending.resolved["scope"]
    audit.record(event, user_id=user.user_id, client_id=pending.client.client_id, scope=scope)
    return redirect(url_for("authorize", interaction=pending.name), 303)


def _remember(user_id: str, pending: PendingRequest) -> bool:
    """Store the consent; return False if the account was deleted or disabled."""
    with services().database.begin() as connection:
        if not is_active(connection, user_id):
            return False
        remember(connection, user_id, pending.client.client_id, pending.resolved)
    return True


def _page(pending: PendingRequest, *, has_changed: bool = False) -> ResponseReturnValue:
    """Show the access that the person is asked to approve.

    Args:
        has_changed: whether this access differs from that on the earlier page, on which the person decided.
    """
    settings = services().settings
    services().interactions.show(pending.name, pending.interaction, pending.resolved)
    requested = pending.resolved["scope"].split()
    others = [sentence for scope, sentence in pending.resource.scopes.items() if scope not in requested]
    page = render_template(
        "consent.html",
        waiting=pending,
        not_asked=others,
        token_minutes=max(1, (pending.resource.access_token_lifetime or settings.access_token_lifetime) // 60),
        refreshes=pending.resolved["refreshable"],
        refresh_days=max(1, settings.refresh_lifetime // 86400),
        remembered=not pending.client.always_requires_consent(pending.redirect_uri),
        has_changed=has_changed,
    )
    response = make_response(page, 409 if has_changed else 200)
    let_forms_leave(response)
    return response
