"""The resource server of the role diagram (RFC 6749 section 1.1): the Invoices API."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click
from flask import Flask

from rolecall.http import HttpClient
from rolecall.openapi import publish
from rolecall.sql import Database, MigrationError, register_error_handlers
from rolecall.web.app import create_flask
from rolecall.web.health import health_routes
from rolecall.web.routes import register
from rolecall_resource import openapi, routes
from rolecall_resource.authorization_server import AuthorizationServer
from rolecall_resource.protect import REALM
from rolecall_resource.settings import Settings
from rolecall_resource.validators import Validator
from rolecall_resource.validators.introspection import Introspection
from rolecall_resource.validators.local_jwt import LocalJwt

MIGRATIONS: Final = Path(__file__).parent / "migrations"


def create_app(settings: Settings, http: HttpClient | None = None) -> Flask:
    """Create the application and its dependencies without opening connections; `/readyz` reports availability."""
    app = create_flask(__name__, settings)
    register_error_handlers(app)
    http = http or HttpClient(connect=0.5, read=1.5, ca_file=settings.ca_file)
    server = AuthorizationServer(settings, http)
    database = Database(settings.database_url, MIGRATIONS)
    app.extensions["rolecall_resource"] = settings
    app.extensions["resource_database"] = database
    validators: dict[str, Validator] = {
        "jwt": LocalJwt(
            server,
            issuer=settings.issuer,
            audience=settings.resource_identifier,
            leeway=settings.clock_leeway,
            typ=settings.access_token_typ,
        ),
        "introspection": Introspection(server, http, settings),
    }
    app.extensions["resource_validators"] = validators
    app.extensions["resource_validator"] = validators[settings.validator]
    register(app, [*routes.ROUTES, *health_routes(app, {"sql": lambda: _is_migrated(database)})])
    publish(app, openapi.description(settings))

    app.jinja_env.globals.update(
        service_title=REALM,
        service_role="resource-server",
        service_role_name="resource server",
        issuer=settings.issuer,
    )

    @app.cli.command("db-upgrade")
    def db_upgrade() -> None:
        """Upgrade the database to the current schema."""
        try:
            database.upgrade()
        except MigrationError as error:
            raise click.ClickException(str(error)) from error
        click.echo(f"The database is at revision {database.revision()}.")

    return app


def _is_migrated(database: Database) -> bool:
    database.require_head()
    return True
