"""Commands for Tally's registration at its authorization server: `registration` and `unregister`."""

from __future__ import annotations

import json

import click
import redis
from flask.cli import with_appcontext

from rolecall.errors import OAuthError
from rolecall.http import Unreachable
from rolecall_client.flow import FlowError
from rolecall_client.services import services

_SECRETS = ("client_secret", "registration_access_token")


@click.command("registration")
@with_appcontext
def registration() -> None:
    """Print the registration that Tally has made, without its secrets."""
    try:
        client = services().runner.registration.current()
    except redis.RedisError as error:
        raise click.ClickException(f"Redis does not respond ({error}).") from error
    if client is None:
        raise click.ClickException("Tally is not registered dynamically. It registers itself when a flow starts.")
    shown = {name: "(secret)" if name in _SECRETS else value for name, value in client.items()}
    click.echo(json.dumps(shown, indent=2, ensure_ascii=False))


@click.command("unregister")
@with_appcontext
def unregister() -> None:
    """Delete the registration that Tally has made, here and at the authorization server (RFC 7592 section 2.3)."""
    try:
        is_deleted = services().runner.registration.remove()
    except FlowError as error:
        raise click.ClickException(error.detail) from error
    except OAuthError as error:
        raise click.ClickException(error.description) from error
    except (Unreachable, redis.RedisError) as error:
        raise click.ClickException(str(error)) from error
    where = "here and at the authorization server" if is_deleted else "here; the authorization server cannot delete it"
    click.echo(f"Deleted the registration {where}.")
