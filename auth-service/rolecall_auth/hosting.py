"""Several authorization servers in one process, each under the path of its issuer.

`ISSUERS_FILE` names a TOML file with a table for each of them. A table contains settings that replace those of the
environment: at least `ISSUER` and `DATABASE_URL`, both different for each.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from flask import Flask

from rolecall.clock import Clock
from rolecall.settings import SettingsError
from rolecall.web.app import Application, create_flask, plain_response
from rolecall.web.health import HEALTH_PATHS, fault_of, health_routes
from rolecall.web.routes import register
from rolecall_auth import create_app
from rolecall_auth.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]*")


def environments(environ: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return the environment of each issuer in `ISSUERS_FILE`, by the name of its table.

    Raises:
        SettingsError: the file cannot be read, or it contains something other than tables.
    """
    path = environ["ISSUERS_FILE"]
    try:
        tables = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(Settings.SERVICE, [f"ISSUERS_FILE: {path} cannot be read: {error}"]) from error
    faults = [
        f"ISSUERS_FILE: {name} must be a table, named with lower-case letters, digits, and hyphens"
        for name, table in tables.items()
        if not _NAME.fullmatch(name) or not isinstance(table, dict)
    ]
    if faults or not tables:
        raise SettingsError(Settings.SERVICE, faults or [f"ISSUERS_FILE: {path} has no table"])
    return {
        name: {**environ, **{setting: str(value) for setting, value in table.items()}} for name, table in tables.items()
    }


def read_issuers(environ: Mapping[str, str], *, lab: bool = False) -> dict[str, Settings]:
    """Return the settings of each issuer in `ISSUERS_FILE`, by the name of its table.

    Raises:
        SettingsError: the file or settings are invalid, or two issuers would share a path or a database.
    """
    issuers: dict[str, Settings] = {}
    faults: list[str] = []
    for name, own in environments(environ).items():
        try:
            issuers[name] = Settings.from_environ(own, lab=lab)
        except SettingsError as error:
            faults += [f"[{name}] {fault}" for fault in error.faults]
    faults += _conflicts(issuers)
    if faults:
        raise SettingsError(Settings.SERVICE, faults)
    return issuers


def _conflicts(issuers: Mapping[str, Settings]) -> Iterable[str]:
    for name, settings in issuers.items():
        if not settings.path:
            yield f"[{name}] ISSUER must have a path, such as /s/{name}"
    for (one, first), (other, second) in permutations(issuers.items(), 2):
        if f"{second.path}/".startswith(f"{first.path}/") and (first.path != second.path or one < other):
            yield f"[{other}] the path of ISSUER is the same as that of [{one}], or lies below it"
        if one < other and first.database_url == second.database_url:
            yield f"[{other}] DATABASE_URL is the same as that of [{one}]"


def create_host(issuers: Mapping[str, Settings]) -> Flask:
    """Build an application that passes each request on to the authorization server that its path belongs to.

    Each server has its own clock, keys, database, and Redis prefix. The health checks at the root are those of all
    servers together, and `flask <name> <command>` runs a command for one of them.
    """
    apps = {name: create_app(settings, Clock()) for name, settings in issuers.items()}
    return combine(apps, next(iter(issuers.values())))


def combine(apps: Mapping[str, Application], settings: Settings) -> Flask:
    """Return the application in front of these authorization servers.

    Args:
        settings: those of the application itself: the log level, and the number of proxies.
    """
    host = create_flask(__name__, settings)
    checks = {name for app in apps.values() for name in app.extensions["rolecall_ready"]}
    register(host, health_routes(host, {name: _check_all(apps, name) for name in sorted(checks)}))
    host.wsgi_app = _dispatch(tuple(apps.values()), host.wsgi_app)  # type: ignore[method-assign, assignment]
    host.extensions["rolecall_hosted"] = tuple(apps.values())
    for name, app in apps.items():
        host.cli.add_command(_commands(name, app))
    return host


def _dispatch(apps: tuple[Application, ...], health: WSGIApplication) -> WSGIApplication:
    def dispatch(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        if path in HEALTH_PATHS:
            return health(environ, start_response)
        for app in apps:
            if app.local_path(path) is not None:
                return app(environ, start_response)
        return plain_response(404, "Not found. This path does not belong to an authorization server.", start_response)

    return dispatch


def _check_all(apps: Mapping[str, Application], check: str) -> Callable[[], bool]:
    def passes() -> bool:
        for name, app in apps.items():
            if fault := fault_of(app.extensions["rolecall_ready"].get(check, lambda: True)):
                raise RuntimeError(f"[{name}] {fault}")
        return True

    return passes


def _commands(name: str, app: Application) -> click.Group:
    """Return the commands of one server as a group, which runs them in the server's application context."""

    @click.pass_context
    def enter(context: click.Context) -> None:
        context.with_resource(app.app_context())

    group = click.Group(
        name, callback=enter, help=f"Commands for the issuer {app.extensions['rolecall_auth'].settings.issuer}."
    )
    for command in app.cli.commands.values():
        group.add_command(command)
    return group
