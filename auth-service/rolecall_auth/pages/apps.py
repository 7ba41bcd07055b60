"""The page of connected apps: list them with their access, and disconnect them, which ends their authorizations."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from rolecall import audit, clock
from rolecall_auth.models.authorization import Authorization, active_of_user
from rolecall_auth.models.client import Client
from rolecall_auth.models.consent import forget, normal_scope, scopes_of_user
from rolecall_auth.openid import scopes
from rolecall_auth.pages.current_user import current_user
from rolecall_auth.services import services


@dataclass(slots=True)
class App:
    """One row of the page. Times are in seconds since the epoch; `used_at` is when a token was last issued, if ever."""

    client: Client
    scopes: set[str]
    since: float
    used_at: float | None = None
    sentences: list[str] = field(default_factory=list)


def apps() -> ResponseReturnValue:
    """Handle GET /apps."""
    user = current_user()
    if user is None:
        return redirect(url_for("sign-in"), 303)
    return render_template("apps.html", who=user, apps=_connected_apps(user.user_id), when=_format_time)


def disconnect() -> ResponseReturnValue:
    """Handle POST /apps/disconnect: delete the consent, and end all authorizations of the app."""
    user = current_user()
    if user is None:
        return redirect(url_for("sign-in"), 303)
    client_id = request.form.get("client_id", "")[:100]
    if not client_id.isprintable():
        return redirect(url_for("apps"), 303)
    # also invalidate decisions that /authorize has not acted on yet
    name, lifetime = f"{user.user_id} {client_id}", services().settings.request_lifetime
    services().store.put("disconnected", name, {"at": clock.now()}, lifetime)
    with services().database.transaction() as session:
        forget(session, user.user_id, client_id)
    services().revocations.end(
        "disconnected by the user", Authorization.user_id == user.user_id, Authorization.client_id == client_id
    )
    audit.record("consent_taken_back", user_id=user.user_id, client_id=client_id)
    client = services().registry.client(client_id)
    if client is not None:
        flash(f"{client.client_name} is disconnected. It loses access now, or when its current token expires.")
    return redirect(url_for("apps"), 303)


def _connected_apps(user_id: str) -> list[App]:
    connected: dict[str, App] = {}
    sentences = {
        scope: sentence for resource in services().registry.resources() for scope, sentence in resource.scopes.items()
    }
    with services().database.read() as session:
        grants: list[tuple[str, str, float, float | None]] = [
            (row.client_id, row.scope, row.given_at, None) for row in scopes_of_user(session, user_id)
        ]
        grants += [(row.client_id, row.scope, row.created_at, row.used_at) for row in active_of_user(session, user_id)]
        for client_id, scope, since, used_at in grants:
            client = connected[client_id].client if client_id in connected else session.get(Client, client_id)
            if client is None:
                continue
            app = connected.setdefault(client_id, App(client, set(), since))
            app.scopes |= set(scope.split())
            app.since = min(app.since, since)
            app.used_at = max(app.used_at or 0, used_at or 0) or None
    for app in connected.values():
        scope = normal_scope(" ".join(app.scopes))
        app.sentences = [sentence for _, sentence in scopes.sentences(scope, sentences)]
    return sorted(connected.values(), key=lambda app: app.used_at or app.since, reverse=True)


def _format_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%-d %B %Y, %H:%M UTC")
