"""Application factories for gunicorn: each service with the lab around it.

Each factory imports only its own service, so that the other services are not loaded into its process.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Final, TypeVar

from flask import Flask, Response

from rolecall import clock, trace
from rolecall.limits import Limit
from rolecall.settings import SettingsError
from rolecall.storage import connect
from rolecall.web.app import Application
from rolecall.web.headers import SECURITY_HEADERS
from rolecall_lab.bar import add_bar, override_templates
from rolecall_lab.settings import LabSettings, Role, refuse_public
from rolecall_lab.wrap import wrap

if TYPE_CHECKING:
    from rolecall_lab.control.actions import Actions


A = TypeVar("A", bound=Flask)

LOCAL_ORIGINS: Final = "localhost *.localhost 127.0.0.1 [::1] *.test"
"""The default of REGISTRATION_ORIGINS: a public page must not make the lab fetch addresses of the local network."""


def auth_app() -> Flask:
    """Create the authorization server, or one for each issuer in `ISSUERS_FILE`."""
    if not os.environ.get("ISSUERS_FILE"):
        return _auth_app(os.environ)
    from rolecall_auth import hosting

    try:
        issuers = hosting.read_issuers(os.environ, lab=True)
        environs = hosting.environments(os.environ)
    except SettingsError as error:
        sys.exit(str(error))
    apps = {name: _auth_app(environ, clock.Clock()) for name, environ in environs.items()}
    return hosting.combine(apps, next(iter(issuers.values())))


def _auth_app(environ: Mapping[str, str], own_clock: clock.Clock | None = None) -> Application:
    """Create an authorization server whose sign-in page lists the lab's users."""

    def build(lab: LabSettings) -> Application:
        import rolecall_auth
        from rolecall_auth.limits import LIMITS
        from rolecall_auth.settings import Settings
        from rolecall_lab import seeds

        defaults = {"REGISTRATION_ORIGINS": environ.get("REGISTRATION_ORIGINS") or LOCAL_ORIGINS}
        settings = Settings.from_environ(with_wide_limits(environ, LIMITS) | defaults, lab=True)
        refuse_public([settings.issuer], settings.backchannel_urls)
        app = rolecall_auth.create_app(settings, own_clock)
        override_templates(app, "auth")
        _link_observer(app, lab.observer_url)
        app.jinja_env.globals["lab_people"] = cache(seeds.people)
        services = app.extensions["rolecall_auth"]
        app.extensions["rolecall_ready"]["seeds"] = lambda: bool(services.registry.resources())
        return app

    def create_actions(app: Flask, lab: LabSettings) -> Actions:
        from rolecall_lab.control.actions import Actions

        return Actions(app, connect(lab.lab_redis_url))

    return _wrapped("authorization_server", build, environ, create_actions)


def with_wide_limits(environ: Mapping[str, str], limits: Iterable[Limit]) -> dict[str, str]:
    """Add the lab's defaults of these limits: classes share one address, and tests send many bad requests."""
    wide = {"attempts": "10000/minute", "bytes": "100000000/minute"}
    missing = (limit for limit in limits if not environ.get(limit.setting.upper()))
    return {**environ, **{limit.setting.upper(): wide[limit.unit] for limit in missing}}


def resource_app() -> Flask:
    """Create the resource server."""

    def build(lab: LabSettings) -> Flask:
        import rolecall_resource
        from rolecall_lab.compare import validator
        from rolecall_resource.settings import Settings

        settings = Settings.from_environ(os.environ, lab=True)
        refuse_public([settings.issuer, settings.public_url])
        app = rolecall_resource.create_app(settings)
        validator.show(app)
        _link_observer(app, lab.observer_url)
        return app

    return _wrapped("resource_server", build, os.environ)


def client_app() -> Flask:
    """Create the client, with the catalog and the comparison."""

    def build(lab: LabSettings) -> Flask:
        import rolecall_client
        from rolecall_client.limits import LIMITS
        from rolecall_client.settings import Settings
        from rolecall_lab import catalog
        from rolecall_lab.compare import invoices
        from rolecall_lab.compare import pages as compare

        settings = Settings.from_environ(with_wide_limits(os.environ, LIMITS), lab=True)
        refuse_public([settings.issuer, settings.public_url])
        app = rolecall_client.create_app(settings)
        catalog.show(app, lab)
        invoices.show(app)
        compare.show(app)
        override_templates(app, "client")
        _link_observer(app, lab.observer_url)
        _frame_observer(app, lab.observer_url)
        return app

    return _wrapped("client", build, os.environ)


def observer_app() -> Flask:
    """Create the observer, which is not recorded, with the mistaken provider."""
    from rolecall_lab import mistakes
    from rolecall_lab.observer.app import create_app

    try:
        lab = LabSettings.from_environ(os.environ, role="observer")
        app = create_app(lab)
    except SettingsError as error:
        sys.exit(str(error))
    mistakes.serve(app, lab)
    return app


def _wrapped(
    role: Role,
    build: Callable[[LabSettings], A],
    environ: Mapping[str, str],
    create_actions: Callable[[Flask, LabSettings], Actions] | None = None,
) -> A:
    try:
        lab = LabSettings.from_environ(environ, role=role)
        app = build(lab)
    except SettingsError as error:
        sys.exit(str(error))
    add_bar(app, lab)
    wrap(app, lab, create_actions(app, lab) if create_actions else None)
    return app


def _link_observer(app: Flask, url: str | None) -> None:
    """Let pages link to the diagram of their request; error pages always do."""
    if not url:
        return
    app.jinja_env.globals["observer_link"] = lambda request_id="": f"{url}/of/{request_id or trace.current()}"
    override_templates(app, "observed")


def _frame_observer(app: Flask, url: str | None) -> None:
    """Let pages embed the diagram of their request in a frame."""
    if not url:
        return

    def allow_frame(response: Response) -> Response:
        policy = response.headers.get("Content-Security-Policy", SECURITY_HEADERS["Content-Security-Policy"])
        scripts = "" if "script-src" in policy else "; script-src 'self'"
        response.headers["Content-Security-Policy"] = f"{policy}; frame-src {url}{scripts}"
        return response

    # functions are called in reverse order, and the policy must be set before this one is called
    app.after_request_funcs.setdefault(None, []).insert(0, allow_frame)
