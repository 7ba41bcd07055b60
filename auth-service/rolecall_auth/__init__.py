"""The authorization server (RFC 6749 section 1.1)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import cast

from flask import Flask
from flask.typing import ResponseReturnValue

from rolecall import sql, storage
from rolecall.clock import Clock
from rolecall.errors import json_response, unavailable
from rolecall.limits import TooMany, too_many_requests
from rolecall.openapi import publish
from rolecall.periodic import Periodic
from rolecall.vocabulary import ID_TOKEN_ALGORITHMS
from rolecall.web.app import Application, create_flask
from rolecall.web.errors import Problem, problem_response, retry_url
from rolecall.web.headers import cookie_settings
from rolecall.web.health import health_routes
from rolecall.web.routes import register
from rolecall_auth import routes
from rolecall_auth.commands import add_commands
from rolecall_auth.jose.signing_keys import KeysError
from rolecall_auth.models.session import SignIn
from rolecall_auth.models.user import PasswordHashingBusy
from rolecall_auth.openapi import description
from rolecall_auth.services import Services, build, services
from rolecall_auth.settings import Settings
from rolecall_auth.sweep import SWEEP_INTERVAL, sweep_if_due

log = logging.getLogger(__name__)


def create_app(settings: Settings, own_clock: Clock | None = None) -> Application:
    """Build the application without opening connections; `/readyz` reports whether its dependencies are available.

    Args:
        own_clock: the clock of this application, if it is not that of the process.
    """
    app = create_flask(__name__, settings, path=settings.path, own_clock=own_clock)
    sql.register_error_handlers(app)
    app.register_error_handler(TooMany, too_many_requests)
    app.extensions["rolecall_auth"] = build(settings)
    app.config["APPLICATION_ROOT"] = settings.path or "/"
    cookie_settings(app, "rolecall_auth", settings.issuer)
    register(app, [*routes.ROUTES, *health_routes(app, _readiness_checks(app))])
    publish(app, description.build_description(settings, app.config["SESSION_COOKIE_NAME"]))
    app.jinja_env.globals.update(
        service_title="Rolecall Accounts",
        service_role="authorization-server",
        service_role_name="authorization server",
        issuer=settings.issuer,
        sign_up_is_open=settings.sign_up == "open",
        current_sign_in=_current_sign_in,
        was_signed_in=_was_signed_in,
    )
    app.register_error_handler(KeysError, _keys_unavailable)
    app.register_error_handler(PasswordHashingBusy, _password_hashing_busy)
    add_commands(app)
    if not settings.lab:  # where the clock can be set back, an expired row may become valid again
        sweep = Periodic("sweep", SWEEP_INTERVAL, sweep_if_due)
        measurement = Periodic("measurement of Redis", storage.MEASURE_INTERVAL, _measure_memory)
        app.extensions["rolecall_periodic"] = [sweep, measurement]
    return app


def _current_sign_in() -> SignIn | None:
    return services().sessions.current()


def _was_signed_in() -> bool:
    return services().sessions.was_signed_in()


def _keys_unavailable(error: KeysError) -> ResponseReturnValue:
    """Return 503: without keys, no token can be signed or verified. The log explains how to fix this."""
    log.error("signing keys unavailable", extra={"detail": str(error)})
    return json_response(unavailable(str(error)))


def _password_hashing_busy(_error: PasswordHashingBusy) -> ResponseReturnValue:
    """Return 503: the queue for password hashing is full."""
    log.warning("too many concurrent password hashes")
    text = "Too many people are signing in at the moment. Try again in a few seconds."
    return problem_response(Problem(503, "The server is busy", text, (("Try again", retry_url()),)))


def _measure_memory() -> None:
    services().memory.part()


def _readiness_checks(app: Flask) -> dict[str, Callable[[], bool]]:
    def parts() -> Services:  # `flask check` runs without an application context
        return cast("Services", app.extensions["rolecall_auth"])

    def redis_is_configured() -> bool:
        storage.require_noeviction(parts().store.client)
        return True

    def redis_has_room() -> bool:
        parts().memory.require_room()
        return True

    def database_is_migrated() -> bool:
        parts().database.require_head()
        return True

    def keys_can_sign() -> bool:
        return all(parts().keys.signing(algorithm) for algorithm in ID_TOKEN_ALGORITHMS)

    return {
        "redis": redis_is_configured,
        "redis_memory": redis_has_room,
        "sql": database_is_migrated,
        "keys": keys_can_sign,
    }
