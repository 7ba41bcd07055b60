"""The authorization server of the role diagram (RFC 6749 section 1.1)."""

from __future__ import annotations

import logging
from collections.abc import Callable

from flask import Flask
from flask.typing import ResponseReturnValue

from auth_service import routes
from auth_service.commands import add_commands
from auth_service.keys import KeysError
from auth_service.settings import Settings
from auth_service.state import State, build
from rolecall import storage, web
from rolecall.errors import json_response, unavailable
from rolecall.vocabulary import SIGNING_ALGORITHMS

log = logging.getLogger(__name__)


def create_app(settings: Settings) -> Flask:
    """The application; the only wiring. Connects to nothing: `/readyz` says whether everything answers."""
    app = web.create_flask(__name__, settings)
    state = app.extensions["auth_service"] = build(settings)
    web.cookie_settings(app, "rolecall_auth", secure=settings.issuer.startswith("https://"))
    web.register(app, [*routes.ROUTES, *web.health_routes(app, _questions(state))])
    app.jinja_env.globals.update(
        service_title="Rolecall Accounts",
        service_role="authorization-server",
        service_role_name="authorization server",
        sign_up_is_open=settings.sign_up == "open",
        current_sign_in=state.sessions.current,
    )
    app.register_error_handler(KeysError, _no_keys)
    add_commands(app, state)
    return app


def _no_keys(error: KeysError) -> ResponseReturnValue:
    """Without keys nothing can be signed or checked; the log says what to do."""
    log.error("no keys", extra={"detail": str(error)})
    return json_response(unavailable(str(error)))


def _questions(state: State) -> dict[str, Callable[[], bool]]:
    def redis_is_fit() -> bool:
        storage.require_noeviction(state.store.client)
        return True

    def database_is_migrated() -> bool:
        state.database.require_head()
        return True

    def keys_sign() -> bool:
        return all(state.keys.signing(algorithm) for algorithm in SIGNING_ALGORITHMS)

    return {"redis": redis_is_fit, "sql": database_is_migrated, "keys": keys_sign}
