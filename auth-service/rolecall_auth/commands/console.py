"""Helpers that the commands share: transactions, error messages, secrets, and JSON files."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, Final, NoReturn

import click
import redis
import sqlalchemy as sa
from sqlalchemy.orm import Session

from rolecall import audit
from rolecall.sql import unavailable_reason
from rolecall_auth import parameters
from rolecall_auth.jose.signing_keys import KeysError
from rolecall_auth.services import services

MIN_SECRET_LENGTH: Final = 32
"""Characters of a client's or resource's secret. It is stored as an unsalted hash, so it must not be guessable."""

SECRET_FILE = click.option(
    "--secret-file",
    type=click.File(),
    help="File with the secret (- for standard input). Without it, a secret is generated and shown once.",
)


def fail(text: str) -> NoReturn:
    """Print one line and exit with code 1.

    Raises:
        click.ClickException: always.
    """
    raise click.ClickException(text)


@contextmanager
def reported_errors() -> Iterator[None]:
    """Report an error of the signing keys, the database, or Redis in one line, and exit with code 1."""
    try:
        yield
    except KeysError as error:
        fail(str(error))
    except sa.exc.SQLAlchemyError as error:
        fail(unavailable_reason(error))
    except redis.RedisError as error:
        fail(f"Redis does not respond ({error}). Repeat the command when it is available again.")


@contextmanager
def write_transaction() -> Iterator[Session]:
    """Open a transaction on the service's database, and report its errors."""
    with reported_errors(), services().database.transaction() as session:
        yield session


def read_json_object(file: IO[str] | None, option: str) -> dict[str, Any]:
    """Return the JSON object in a file; an empty dict without a file."""
    try:
        value = json.load(file) if file else {}
    except (ValueError, RecursionError) as error:
        fail(f"{option} is not valid JSON: {error}")
    if not isinstance(value, dict):
        fail(f"{option} must contain a JSON object")
    return value


def read_or_generate_secret(file: IO[str] | None) -> str:
    """Return the secret in a file, without surrounding white space; generate one without a file."""
    if file is None:
        return secrets.token_urlsafe(32)
    secret = file.read().strip()
    if len(secret) < MIN_SECRET_LENGTH:
        fail(f"The secret in {file.name} is shorter than {MIN_SECRET_LENGTH} characters.")
    if fault := parameters.fault("client_secret", secret):
        fail(f"The secret in {file.name} {fault}.")
    return secret


def report_registration(kind: str, name: str, secret: str | None, file: IO[str] | None) -> None:
    """Print and audit a registration; a secret that did not come from a file is shown."""
    audit.record(f"{kind}_registered", registered=name)
    click.echo(f"Registered the {kind} {name}.")
    if secret and file is None:
        click.echo(f"Its secret (it will not be shown again): {secret}")
