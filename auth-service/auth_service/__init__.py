"""The authorization server of the role diagram (RFC 6749 section 1.1)."""

from __future__ import annotations

import logging
from collections.abc import Callable

import click
from flask import Flask
from flask.typing import ResponseReturnValue

from auth_service import routes
from auth_service.keys import KeysError
from auth_service.settings import Settings
from auth_service.state import State, build
from rolecall import storage, web
from rolecall.errors import json_response, unavailable
from rolecall.sql import MigrationError
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
    _add_commands(app, state)
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


def _add_commands(app: Flask, state: State) -> None:
    @app.cli.command("db-upgrade")
    def db_upgrade() -> None:
        """Bring the database to this version's schema, and make the first signing keys."""
        try:
            with state.database.alone():
                state.database.upgrade()
                state.keys.ensure()
        except (MigrationError, KeysError) as error:
            raise click.ClickException(str(error)) from error
        click.echo(f"The database is at revision {state.database.revision()}.")

    @app.cli.command("rotate-keys")
    def rotate_keys() -> None:
        """Publish new signing keys; they take over when everybody has had time to fetch them."""
        new = state.keys.rotate()
        if not new:
            click.echo("A new key is published already and has not begun to sign; nothing was changed.")
        for kid in new:
            click.echo(f"Published {kid}; it signs in {state.settings.jwks_max_age} seconds.")
