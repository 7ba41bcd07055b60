"""Commands for the signing keys: `keys list`, `keys rotate`, `keys retire`, and `keys reseal`."""

from __future__ import annotations

import click
from flask.cli import AppGroup

from rolecall import audit, clock
from rolecall_auth.commands.console import reported_errors
from rolecall_auth.services import services

keys = AppGroup("keys", help="Manage the keys that sign tokens.")


@keys.command("list")
def list_keys() -> None:
    """List each key with its algorithm, its status, and the seconds until the status changes."""
    now = clock.now()
    with reported_errors():
        every_key = services().keys.all_keys()
    for key in every_key:
        ends = {"published": key.signs_from, "signing": key.signs_until, "verifying": key.verifies_until}
        end = ends.get(key.status(now))
        remaining = f"  for {round(end - now)} more seconds" if end else ""
        click.echo(f"{key.kid}  {key.algorithm}  {key.status(now)}{remaining}")


@keys.command("rotate")
def rotate_keys() -> None:
    """Publish new keys, which start signing when caches of the key set have expired."""
    with reported_errors():
        new = services().keys.rotate()
    if not new:
        click.echo("No key was changed, because a new key is already published and does not sign yet.")
        return
    audit.record("keys_rotated", kids=new)
    for kid in new:
        click.echo(f"Published {kid}. It starts signing in {services().keys.published_before} seconds.")


@keys.command("retire", context_settings={"ignore_unknown_options": True})  # a kid may begin with a hyphen
@click.argument("kid")
def retire_key(kid: str) -> None:
    """Stop using a compromised key immediately. Its tokens are no longer accepted."""
    with reported_errors():
        new = services().keys.retire(kid)
    for each in new:
        click.echo(f"Published {each}. It signs from now on.")
    audit.record("key_retired", kid=kid)
    click.echo(
        f"Retired {kid}. Introspection rejects its tokens within a second. Resource servers that only verify "
        f"signatures reject them after fetching the key set again, within {services().settings.jwks_max_age} seconds."
    )


@keys.command("reseal")
def reseal_keys() -> None:
    """Encrypt keys and client secrets with the first key of DATA_KEY, so that the older ones can be removed."""
    with reported_errors():
        count = services().keys.reseal()
    click.echo(f"Re-encrypted {count} signing keys, and the secrets of clients that use client_secret_jwt.")
    audit.record("keys_resealed")
