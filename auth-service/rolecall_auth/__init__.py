"""The authorization server of the role diagram (RFC 6749 section 1.1)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from flask import Flask
from flask.typing import ResponseReturnValue

from rolecall import audit, sql, storage
from rolecall.errors import OAuthError, json_response, unavailable
from rolecall.openapi import publish
from rolecall.periodic import Periodic
from rolecall.vocabulary import ID_TOKEN_ALGORITHMS
from rolecall.web.app import create_flask
from rolecall.web.errors import Problem, problem_response, retry_url, wants_page
from rolecall.web.headers import cookie_settings
from rolecall.web.health import health_routes
from rolecall.web.routes import register
from rolecall_auth import routes
from rolecall_auth.commands import add_commands
from rolecall_auth.jose.signing_keys import KeysError
from rolecall_auth.limits import TooMany
from rolecall_auth.models.user import Busy
from rolecall_auth.openapi import description
from rolecall_auth.services import Services, build
from rolecall_auth.settings import Settings
from rolecall_auth.sweep import EVERY, sweep_in_turn

log = logging.getLogger(__name__)


def create_app(settings: Settings) -> Flask:
    """The application; the only wiring. Connects to nothing: `/readyz` says whether everything answers."""
    app = create_flask(__name__, settings)
    sql.register_error_handlers(app)
    services = app.extensions["rolecall_auth"] = build(settings)
    cookie_settings(app, "rolecall_auth", secure=settings.issuer.startswith("https://"))
    register(app, [*routes.ROUTES, *health_routes(app, _questions(services))])
    publish(app, description.description(settings, app.config["SESSION_COOKIE_NAME"]))
    app.jinja_env.globals.update(
        service_title="Rolecall Accounts",
        service_role="authorization-server",
        service_role_name="authorization server",
        issuer=settings.issuer,
        sign_up_is_open=settings.sign_up == "open",
        current_sign_in=services.sessions.current,
        was_signed_in=services.sessions.was_signed_in,
    )
    app.register_error_handler(KeysError, _no_keys)
    app.register_error_handler(TooMany, _too_many)
    app.register_error_handler(Busy, _busy)
    add_commands(app, services)
    if not settings.lab:  # whose clock is turned to and fro: what is over may be wanted again
        app.extensions["rolecall_periodic"] = [Periodic("sweep", EVERY, lambda: sweep_in_turn(services))]
    return app


def _no_keys(error: KeysError) -> ResponseReturnValue:
    """Without keys nothing can be signed or checked; the log says what to do."""
    log.error("no keys", extra={"detail": str(error)})
    return json_response(unavailable(str(error)))


_TOO_MANY: Final = {
    "authorization": (
        "Too many requests",
        "From this address, more apps have asked for access than people decide about. Try again in {wait}.",
    ),
    "sign-up": (
        "Too many new accounts",
        "From this address, many accounts have been made in a short time. No more are made from here for {wait}. "
        "Wait, and try again; who has an account can sign in meanwhile.",
    ),
    "registration": ("", "From this address, many clients have been registered. Try again in {wait}."),
    "client": ("", "Too many failed attempts. Try again in {wait}."),
    "client-address": ("", "Too many failed attempts from this address. Try again in {wait}."),
}
"""Title and text, by what was tried; else it was signing in."""

_TOO_MANY_SIGN_INS: Final = (
    "Too many attempts",
    "To keep guessers out, this server looks at no further attempt from here for {wait}. Nothing is locked: wait, and "
    "try again. If it was not you, somebody may have tried your name; your password still holds.",
)


def _too_many(error: TooMany) -> ResponseReturnValue:
    """429 with the time to wait (RFC 6585 section 4)."""
    audit.record("throttled", what=error.what)
    wait = f"{error.seconds} seconds" if error.seconds < 120 else f"{round(error.seconds / 60)} minutes"
    title, text = _TOO_MANY.get(error.what, _TOO_MANY_SIGN_INS)
    text = text.format(wait=wait)
    if not wants_page():
        return json_response(OAuthError("temporarily_unavailable", text, status=429, retry_after=error.seconds))
    links = (("Try again", retry_url()),)
    return problem_response(Problem(429, title, text, links, retry_after=error.seconds))


def _busy(_error: Busy) -> ResponseReturnValue:
    """503: so many passwords wait to be hashed that more would only make all of them wait."""
    log.warning("too many password hashes at once")
    text = "Very many people sign in at this moment. Try again in a few seconds."
    return problem_response(Problem(503, "One moment, please", text, (("Try again", retry_url()),)))


def _questions(services: Services) -> dict[str, Callable[[], bool]]:
    def redis_is_fit() -> bool:
        storage.require_noeviction(services.store.client)
        return True

    def database_is_migrated() -> bool:
        services.database.require_head()
        return True

    def keys_sign() -> bool:
        return all(services.keys.signing(algorithm) for algorithm in ID_TOKEN_ALGORITHMS)

    return {"redis": redis_is_fit, "sql": database_is_migrated, "keys": keys_sign}
