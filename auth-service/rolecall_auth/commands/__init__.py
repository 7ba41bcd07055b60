"""The administrator's commands: `flask --app 'rolecall_auth.wsgi:app()' --help`."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from typing import IO, Any, Final, NoReturn, TypeVar

import click
import redis
import sqlalchemy as sa
from flask import Flask
from flask.cli import AppGroup
from sqlalchemy.orm import Session

from rolecall import audit, clock
from rolecall.errors import OAuthError
from rolecall.settings import url
from rolecall.sql import MigrationError, unavailable_reason
from rolecall.storage import digest
from rolecall.vocabulary import CLIENT_AUTH_METHODS, PROFILES
from rolecall_auth.clients import logos, metadata
from rolecall_auth.grants import GRANTS
from rolecall_auth.jose.signing_keys import KeysError
from rolecall_auth.models import new_secret
from rolecall_auth.models.authorization import Authorization
from rolecall_auth.models.client import Client
from rolecall_auth.models.initial_access_token import InitialAccessToken
from rolecall_auth.models.resource import Resource
from rolecall_auth.models.user import User, account_faults, hash_password, normal_username
from rolecall_auth.openid import standard_claims
from rolecall_auth.services import Services
from rolecall_auth.sweep import sweep

T = TypeVar("T")

MIN_SECRET: Final = 32
"""Characters of a client's or resource's secret: it is kept as a plain hash, so it must not be guessable."""

SECRET_FILE = click.option(
    "--secret-file", type=click.File(), help="Holds the secret (- is the input); without it, one is made and told once."
)


def add_commands(app: Flask, services: Services) -> None:
    """Give `flask` the commands of this service."""

    @app.cli.command("db-upgrade")
    def db_upgrade() -> None:
        """Bring the database to this version's schema, and make the first signing keys."""
        try:
            with services.database.exclusive():
                services.database.upgrade()
                services.keys.ensure()
        except (MigrationError, KeysError) as error:
            _fail(str(error))
        click.echo(f"The database is at revision {services.database.revision()}.")

    keys = AppGroup("keys", help="The keys that sign tokens.")
    app.cli.add_command(keys)

    @keys.command("list")
    def list_keys() -> None:
        """Each key: its algorithm, its state, and when that ends."""
        now = clock.now()
        for key in _told(services.keys.everything):
            until = {"published": key.signs_from, "signing": key.signs_until, "verifying": key.verifies_until}
            end = until.get(key.condition(now))
            left = f"  for {round(end - now)} s more" if end else ""
            click.echo(f"{key.kid}  {key.algorithm}  {key.condition(now)}{left}")

    @keys.command("rotate")
    def rotate_keys() -> None:
        """Publish new keys; they take over when everybody has had time to fetch them."""
        new = _told(services.keys.rotate)
        if not new:
            click.echo("A new key is published already and has not begun to sign; nothing was changed.")
        if new:
            audit.record("keys_rotated", kids=new)
        for kid in new:
            click.echo(f"Published {kid}; it signs in {services.keys.published_before} seconds.")

    @keys.command("retire", context_settings={"ignore_unknown_options": True})  # a kid may begin with a hyphen
    @click.argument("kid")
    def retire_key(kid: str) -> None:
        """Stop using a key at once, because somebody else may hold it. Its tokens are refused."""
        for new in _told(lambda: services.keys.retire(kid)):
            click.echo(f"Published {new}; it signs at once.")
        audit.record("key_retired", kid=kid)
        click.echo(
            f"Retired {kid}. Introspection refuses its tokens within a second; who checks signatures alone does when "
            f"the key set is fetched again, in {services.settings.jwks_max_age} seconds at most."
        )

    @keys.command("reseal")
    def reseal_keys() -> None:
        """Seal keys and clients' secrets under the newest key in DATA_KEY, so that the older ones can be taken out."""
        click.echo(f"Sealed {_told(services.keys.reseal)} keys.")
        audit.record("keys_resealed")

    @app.cli.command("registration-token")
    @click.option("--profile", type=click.Choice(PROFILES), default=PROFILES[0], show_default=True)
    @click.option("--days", type=click.IntRange(1, 365), default=7, show_default=True)
    def registration_token(profile: str, days: int) -> None:
        """Print an initial access token: who has it registers one client (RFC 7591 section 3)."""
        token = new_secret()
        row = InitialAccessToken(token_hash=digest(token), profile=profile, expires_at=clock.now() + days * 86400)
        with _writing(services) as session:
            session.add(row)
        audit.record("registration_token_made", profile=profile)
        click.echo(token)

    @app.cli.command("sweep")
    def sweep_rows() -> None:
        """Remove rows that nobody needs any more; production does so by itself every hour."""
        removed = _told(lambda: sweep(services))
        click.echo(", ".join(f"{table}: {number}" for table, number in removed.items()))

    @app.cli.command("add-resource")
    @click.argument("resource_id")
    @click.option("--identifier", required=True, help="The `aud` of its tokens: an absolute URL (RFC 8707).")
    @click.option("--name", required=True, help="What people are told it is called.")
    @click.option("--scope", multiple=True, required=True, help='"invoices:read=read your invoices"; may be repeated.')
    @SECRET_FILE
    def add_resource(
        resource_id: str, identifier: str, name: str, scope: tuple[str, ...], secret_file: IO[str] | None
    ) -> None:
        """Register an API that tokens can be for, or change its registration."""
        scopes = {name: text or name for name, _, text in (each.partition("=") for each in scope)}
        try:
            identifier = url(identifier)
        except ValueError as error:
            _fail(f"--identifier {error}")
        secret = _secret(secret_file)
        row = Resource(
            resource_id=resource_id, identifier=identifier, name=name, scopes=scopes, secret_hash=digest(secret)
        )
        with _writing(services) as session:
            other = sa.select(Resource).where(Resource.resource_id == resource_id, Resource.identifier != identifier)
            if session.scalar(other) is not None:
                _fail(f"{resource_id} is registered with another identifier; an identifier is never changed")
            session.merge(row)
        _tell("resource", resource_id, secret, secret_file)

    @app.cli.command("add-client")
    @click.argument("client_id")
    @click.option("--name", required=True, help="What people are told it is called.")
    @click.option("--redirect-uri", multiple=True, required=True, help="May be repeated.")
    @click.option("--scope", required=True, help="All that it may ask for, separated by spaces.")
    @click.option("--native", is_flag=True, help="A program on a person's own device (RFC 8252).")
    @click.option("--description", help="One sentence for the consent page.")
    @click.option(
        "--auth-method", type=click.Choice(CLIENT_AUTH_METHODS), default=CLIENT_AUTH_METHODS[0], show_default=True
    )
    @click.option(
        "--profile",
        type=click.Choice(PROFILES),
        default=PROFILES[0],
        show_default=True,
        help="fapi2 is as oauth2.1 so far.",
    )
    @click.option(
        "--metadata-file", type=click.File(), help="A JSON object with more of its metadata: jwks, logo_uri (RFC 7591)."
    )
    @SECRET_FILE
    def add_client(
        client_id: str,
        name: str,
        redirect_uri: tuple[str, ...],
        scope: str,
        native: bool,
        description: str | None,
        auth_method: str,
        profile: str,
        metadata_file: IO[str] | None,
        secret_file: IO[str] | None,
    ) -> None:
        """Register a client, or change its registration."""
        document = {
            "grant_types": [grant.grant_type for grant in GRANTS],
            **_object(metadata_file, "--metadata-file"),
            "client_name": name,
            "application_type": "native" if native else "web",
            "token_endpoint_auth_method": auth_method,
            "redirect_uris": list(redirect_uri),
            "scope": scope,
        }
        try:
            found = _told(lambda: metadata.read(document, profile))
        except OAuthError as error:
            _fail(error.detail or error.description)
        secret = None if auth_method in {"none", "private_key_jwt"} else _secret(secret_file)
        seal = services.settings.data_key.encrypt if auth_method == "client_secret_jwt" else None
        client = Client(
            client_id=client_id,
            profile=profile,
            description=description,
            secret_hash=digest(secret) if secret and not seal else None,
            secret_sealed=seal(secret.encode()) if secret and seal else None,
            **metadata.columns(found),
        )
        with _writing(services) as session:
            session.merge(client)
        _told(lambda: logos.fetch(client))
        _tell("client", client_id, secret, secret_file)

    @app.cli.command("add-user")
    @click.argument("username")
    @click.option("--password-file", type=click.File(), help="Holds the password (- is the input).")
    def add_user(username: str, password_file: IO[str] | None) -> None:
        """Make a person's account."""
        password = password_file.read().strip() if password_file else click.prompt("Password", hide_input=True)
        name = normal_username(username)
        if faults := account_faults(name, password):
            _fail(" ".join(faults.values()))
        with _writing(services) as session:
            if session.scalar(sa.select(User.id).where(User.username == name)) is not None:
                _fail(f"there is an account {name} already")
            user = User(username=name, password_hash=hash_password(password))
            session.add(user)
            session.flush()
            user_id = user.id
        audit.record("user_added", user_id=user_id)
        click.echo(f"Added {name}; its sub is {user_id}.")

    @app.cli.command("set-claims")
    @click.argument("username")
    @click.option("--file", type=click.File(), required=True, help="A JSON object of standard claims (- is the input).")
    def set_claims(username: str, file: IO[str]) -> None:
        """Say what is known of a person (OpenID Connect Core section 5.1), in the place of what was known before."""
        name, claims = normal_username(username), _object(file, "--file")
        if faults := [fault for _, fault in standard_claims.faults(claims)]:
            _fail("; ".join(faults))
        with _writing(services) as session:
            user = session.scalar(sa.select(User).where(User.username == name))
            if user is None:
                _fail(f"there is no account {name}")
            user.claims, user_id = claims, user.id
        audit.record("claims_set", user_id=user_id)
        click.echo(f"Of {name} is known: {', '.join(claims) or 'nothing'}.")

    @app.cli.command("disable-user")
    @click.argument("username")
    def disable_user(username: str) -> None:
        """Close an account: its person can sign in no more, and everything that apps were given ends."""
        name = normal_username(username)
        with _writing(services) as session:
            user = session.scalar(sa.select(User).where(User.username == name))
            if user is None:
                _fail(f"there is no account {name}")
            user.disabled_at, user_id = user.disabled_at or clock.now(), user.id
        ended = _told(lambda: services.revocations.end("account disabled", Authorization.user_id == user_id))
        audit.record("user_disabled", user_id=user_id)
        click.echo(f"Disabled {name}; {ended} authorizations have ended.")

    @app.cli.command("disable-client")
    @click.argument("client_id")
    def disable_client(client_id: str) -> None:
        """Let a client get nothing any more, and end everything that it was given."""
        with _writing(services) as session:
            client = session.get(Client, client_id)
            if client is None:
                _fail(f"there is no client {client_id}")
            client.disabled_at = client.disabled_at or clock.now()
        ended = _told(lambda: services.revocations.end("client disabled", Authorization.client_id == client_id))
        audit.record("client_disabled", client_id=client_id)
        click.echo(f"Disabled {client_id}; {ended} authorizations have ended.")


def _object(file: IO[str] | None, option: str) -> dict[str, Any]:
    """What stands in a file with a JSON object; nothing without one."""
    try:
        found = json.load(file) if file else {}
    except (ValueError, RecursionError) as error:
        _fail(f"{option} is no JSON: {error}")
    if not isinstance(found, dict):
        _fail(f"{option} must hold a JSON object")
    return found


def _told(action: Callable[[], T]) -> T:
    """What `action` gives; a fault of the keys or the database is one line."""
    try:
        return action()
    except KeysError as error:
        _fail(str(error))
    except sa.exc.SQLAlchemyError as error:
        _fail(unavailable_reason(error))
    except redis.RedisError as error:
        _fail(f"Redis does not answer ({error}); repeat the command when it does")


class _writing:  # noqa: N801  used like a function
    """A transaction whose faults are one line."""

    def __init__(self, services: Services) -> None:
        self._transaction = services.database.transaction()

    def __enter__(self) -> Session:
        return self._transaction.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool | None:
        try:
            return self._transaction.__exit__(kind, error, trace)  # type: ignore[arg-type]
        except sa.exc.SQLAlchemyError as failed:
            _fail(unavailable_reason(failed))


def _secret(file: IO[str] | None) -> str:
    if file is None:
        return secrets.token_urlsafe(32)
    secret = file.read().strip()
    if len(secret) < MIN_SECRET:
        _fail(f"the secret in {file.name} is shorter than {MIN_SECRET} characters")
    return secret


def _tell(kind: str, name: str, secret: str | None, file: IO[str] | None) -> None:
    audit.record(f"{kind}_registered", registered=name)
    click.echo(f"Registered the {kind} {name}.")
    if secret and file is None:
        click.echo(f"Its secret, which is shown only now: {secret}")


def _fail(text: str) -> NoReturn:
    raise click.ClickException(text)
