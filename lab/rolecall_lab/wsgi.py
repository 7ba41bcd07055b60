"""For gunicorn: each service with the lab around it. Each factory imports its own service alone."""
# ruff: noqa: PLC0415

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

from flask import Flask, Response

from rolecall import trace
from rolecall.settings import SettingsError, declared_settings
from rolecall_lab.settings import LabSettings, Role, refuse_public
from rolecall_lab.wrap import wrap


def auth_app() -> Flask:
    """The authorization server, with the lab's people on its sign-in page."""

    def build() -> Flask:
        import rolecall_auth
        from rolecall_auth.settings import Settings

        # a class signs in from one address, and tests send invalid requests
        limits = {
            each.name.upper(): "10000/minute" for each in declared_settings(Settings) if each.name.endswith("_limit")
        }
        settings = Settings.from_environ({**limits, **os.environ}, lab=True)
        refuse_public([settings.issuer], settings.backchannel_urls)
        app = rolecall_auth.create_app(settings)
        _show_people(app)
        services = app.extensions["rolecall_auth"]
        app.extensions["rolecall_ready"]["seeds"] = lambda: bool(services.registry.resources())
        return app

    return _wrapped(build, "authorization_server")


def resource_app() -> Flask:
    """The resource server."""

    def build() -> Flask:
        import rolecall_resource
        from rolecall_resource.settings import Settings

        settings = Settings.from_environ(os.environ, lab=True)
        refuse_public([settings.issuer, settings.public_url])
        return rolecall_resource.create_app(settings)

    return _wrapped(build, "resource_server")


def client_app() -> Flask:
    """The client."""

    def build() -> Flask:
        import rolecall_client
        from rolecall_client.settings import Settings
        from rolecall_lab import catalog
        from rolecall_lab.compare import pages as compare

        settings = Settings.from_environ(os.environ, lab=True)
        refuse_public([settings.issuer, settings.public_url])
        app = rolecall_client.create_app(settings)
        lab = LabSettings.of("client", os.environ)
        catalog.show(app, lab)
        compare.show(app)
        _show_observer(app, lab.observer_url)
        return app

    return _wrapped(build, "client")


def observer_app() -> Flask:
    """The observer, which is not recorded itself."""
    from rolecall_lab.observer.app import create_app

    try:
        return create_app(LabSettings.of("observer", os.environ))
    except SettingsError as error:
        sys.exit(str(error))


def _wrapped(build: Callable[[], Flask], role: Role) -> Flask:
    try:
        lab = LabSettings.of(role, os.environ)
        app = build()
    except SettingsError as error:
        sys.exit(str(error))
    _add_templates(app)
    wrap(app, lab)
    return app


def _add_templates(app: Flask) -> None:
    from jinja2 import ChoiceLoader, FileSystemLoader

    # Flask's own loader looks into the application's folder and its blueprints'
    own = app.jinja_env.loader
    assert own is not None
    app.jinja_env.loader = ChoiceLoader([own, FileSystemLoader(Path(__file__).parent / "templates")])


def _show_observer(app: Flask, url: str | None) -> None:
    """Pages link to the picture of the request that they answer, and may show it beside themselves."""
    if not url:
        return
    app.jinja_env.globals["observer_link"] = lambda request_id="": f"{url}/of/{request_id or trace.current()}"

    def allow_frame(response: Response) -> Response:
        policy = response.headers.get("Content-Security-Policy", "")
        response.headers["Content-Security-Policy"] = f"{policy}; frame-src {url}"
        return response

    # what is registered last is called first: the policy must be there already
    app.after_request_funcs.setdefault(None, []).insert(0, allow_frame)


def _show_people(app: Flask) -> None:
    from rolecall_lab import seeds

    app.jinja_env.globals["lab_people"] = cache(seeds.people)
