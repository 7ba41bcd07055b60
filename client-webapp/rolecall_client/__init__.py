"""Tally, the client of the role diagram (RFC 6749 section 1.1): a web app that keeps its tokens on the server."""

from __future__ import annotations

from flask import Flask

from rolecall import storage
from rolecall.http import HttpClient
from rolecall.limits import TooMany, too_many_requests
from rolecall.openapi import publish
from rolecall.periodic import Periodic
from rolecall.web.app import create_flask
from rolecall.web.headers import cookie_settings
from rolecall.web.health import health_routes
from rolecall.web.routes import register
from rolecall_client import commands, openapi, routes
from rolecall_client.address import redirect_loopback_names
from rolecall_client.services import Services, build
from rolecall_client.settings import ROLECALL, Settings


def create_app(settings: Settings, http: HttpClient | None = None) -> Flask:
    """Create the application and its dependencies without opening connections; `/readyz` reports availability."""
    app = create_flask(__name__, settings)
    services = app.extensions["rolecall_client"] = build(settings, http or HttpClient(ca_file=settings.ca_file))
    cookie_settings(app, "rolecall_client", settings.public_url)
    redirect_loopback_names(app, settings.public_url)
    app.register_error_handler(TooMany, too_many_requests)
    ready = {"redis": lambda: _has_noeviction(services), "redis_memory": lambda: _has_room(services)}
    register(app, [*routes.ROUTES, *health_routes(app, ready)])
    app.cli.add_command(commands.registration)
    app.cli.add_command(commands.unregister)
    publish(app, openapi.description(settings, app.config["SESSION_COOKIE_NAME"]))
    app.jinja_env.globals.update(
        service_title="Tally",
        service_role="client",
        service_role_name="client",
        is_connected=services.sessions.was_connected,
        is_signed_in=services.sessions.was_signed_in,
        issuer_name=settings.issuer_name,
        apps_url=f"{settings.issuer}/apps" if settings.issuer_name == ROLECALL else "",
    )
    if not settings.lab:  # the lab has no metrics
        measurement = Periodic("measurement of Redis", storage.MEASURE_INTERVAL, services.memory.part)
        app.extensions["rolecall_periodic"] = [measurement]
    return app


def _has_noeviction(services: Services) -> bool:
    storage.require_noeviction(services.store.client)
    return True


def _has_room(services: Services) -> bool:
    services.memory.require_room()
    return True
