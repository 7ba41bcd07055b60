"""Tally, the client of the role diagram (RFC 6749 section 1.1): a backend for its own front end."""

from __future__ import annotations

from flask import Flask

from rolecall import storage, web
from rolecall.openapi import publish
from rolecall_client import openapi, routes
from rolecall_client.settings import Settings
from rolecall_client.state import State, build


def create_app(settings: Settings) -> Flask:
    """The application; the only wiring. Connects to nothing: `/readyz` says whether everything answers."""
    app = web.create_flask(__name__, settings)
    state = app.extensions["rolecall_client"] = build(settings)
    web.cookie_settings(app, "rolecall_client", secure=settings.public_url.startswith("https://"))
    web.register(app, [*routes.ROUTES, *web.health_routes(app, {"redis": lambda: _redis_is_fit(state)})])
    publish(app, openapi.description(settings, app.config["SESSION_COOKIE_NAME"]))
    app.jinja_env.globals.update(
        service_title="Tally",
        service_role="client",
        service_role_name="client",
        is_connected=state.sessions.was_connected,
        is_signed_in=state.sessions.was_signed_in,
        issuer=settings.issuer,
    )
    return app


def _redis_is_fit(state: State) -> bool:
    storage.require_noeviction(state.store.client)
    return True
