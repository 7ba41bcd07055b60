"""What the authorization server stores: what lasts in SQL, what expires in Redis (`ephemeral`, `session`)."""

from __future__ import annotations

import secrets

from sqlalchemy.orm import DeclarativeBase


class Model(DeclarativeBase):
    """All tables of this service. Times are seconds since the epoch."""


def new_secret() -> str:
    """A random value of 256 bits, as codes, tokens and session names are made of."""
    return secrets.token_urlsafe(32)


def new_id() -> str:
    """A random identifier of 127 bits that is no secret and never used again.

    None begins with a dash, with which it would be an option of a command.
    """
    while (made := secrets.token_urlsafe(16)).startswith("-"):
        pass
    return made
