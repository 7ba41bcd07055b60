"""Persistent data in SQL, and data that expires in Redis."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, ClassVar

from sqlalchemy.orm import DeclarativeBase

if TYPE_CHECKING:
    from sqlalchemy import Table


class Model(DeclarativeBase):
    """The base class of all tables of this service. Times are seconds since the epoch."""

    if TYPE_CHECKING:
        __table__: ClassVar[Table]


def new_secret() -> str:
    """Return a random value of 256 bits for a code, a token, or a session identifier."""
    return secrets.token_urlsafe(32)


def new_id() -> str:
    """Return a random identifier of 127 bits; it is unique but not secret.

    It never starts with a hyphen, because a command would parse it as an option.
    """
    while (identifier := secrets.token_urlsafe(16)).startswith("-"):
        pass
    return identifier
