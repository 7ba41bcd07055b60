"""The administrator's commands: `flask --app 'rolecall_auth.wsgi:app()' --help`."""

from __future__ import annotations

import copy
from typing import Final

import click
from flask import Flask

from rolecall_auth.commands.clients import add_client, add_resource, disable_client, registration_token
from rolecall_auth.commands.database import db_upgrade, sweep_rows
from rolecall_auth.commands.keys import keys
from rolecall_auth.commands.people import add_claim_scope, add_user, disable_user, set_claims

COMMANDS: Final[tuple[click.Command, ...]] = (
    db_upgrade,
    keys,
    registration_token,
    sweep_rows,
    add_resource,
    add_client,
    add_user,
    add_claim_scope,
    set_claims,
    disable_user,
    disable_client,
)


def add_commands(app: Flask) -> None:
    """Add the service's commands to `flask`.

    Each application gets copies, so that a change to a command of one application does not affect the others.
    """
    for command in COMMANDS:
        app.cli.add_command(_copy(command))


def _copy(command: click.Command) -> click.Command:
    copied = copy.copy(command)
    if isinstance(copied, click.Group):
        copied.commands = {name: _copy(each) for name, each in copied.commands.items()}
    return copied
