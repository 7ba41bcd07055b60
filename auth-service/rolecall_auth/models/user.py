"""People and their passwords (argon2id, as RFC 9106 section 4 recommends for interactive use)."""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import argon2
import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from rolecall import clock, events
from rolecall_auth.models import Model, new_id

_hasher = argon2.PasswordHasher()
# A hash uses 64 MiB and one core; more at the same time would only slow each of them down.
_slots = threading.BoundedSemaphore(2)
# Each waiting caller blocks a thread; some threads must stay free for requests that need no password.
_queue = threading.BoundedSemaphore(8)
_DUMMY_HASH: Final = "$argon2id$v=19$m=65536,t=3,p=4$uvxs/y5qSKJ+w+sezBatmg$gprqWtPTkwEKLgk5MK6SultMyQKcqUC6uRR3WxhO9WI"
"""A hash that matches no password; verifying it makes an unknown name take as long as a wrong password."""


_USERNAME: Final = re.compile(r"[\w.\-]{2,40}")
MIN_PASSWORD: Final = 8
MAX_PASSWORD: Final = 200
"""Characters. NIST SP 800-63B requires at least eight, without composition rules."""


class User(Model):
    """A resource owner. `id` is the `sub` of tokens: random, never reused, and never equal to a client ID.

    `claims` are the person's standard claims (OpenID Connect Core section 5.1).
    """

    __tablename__ = "user_account"

    id: Mapped[str] = mapped_column(sa.String(64), primary_key=True, default=lambda: "usr_" + new_id())
    username: Mapped[str] = mapped_column(sa.String(64), unique=True)
    password_hash: Mapped[str] = mapped_column(sa.String(255))
    claims: Mapped[dict[str, Any]] = mapped_column(sa.JSON, nullable=True, default=dict)
    created_at: Mapped[float] = mapped_column(sa.Double, default=clock.now)
    disabled_at: Mapped[float | None] = mapped_column(sa.Double)

    def get_user_id(self) -> str:
        """Return the subject identifier; Authlib calls this."""
        return self.id


class UserRecord(NamedTuple):
    """The columns of a person that requests from programs need; see `User`."""

    id: str
    username: str
    claims: dict[str, Any]


_ACTIVE: Final = sa.select(User.__table__.c.id).where(
    User.__table__.c.id == sa.bindparam("user"), User.__table__.c.disabled_at.is_(None)
)


def is_active(connection: sa.Connection, user_id: str) -> bool:
    """Return whether the account exists and is not disabled; a session can outlive its account."""
    return connection.scalar(_ACTIVE, {"user": user_id}) is not None


def normal_username(text: str) -> str:
    """Return the form in which usernames are stored and compared."""
    return unicodedata.normalize("NFKC", text).strip().casefold()


def account_faults(username: str, password: str) -> dict[str, str]:
    """Return the error messages for a new account's username (in normal form) and password, by field."""
    faults = {}
    if not _USERNAME.fullmatch(username):
        faults["username"] = "The name must have 2 to 40 letters, digits, dots, hyphens, or underscores."
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD or "\0" in password:
        faults["password"] = f"The password must have {MIN_PASSWORD} to {MAX_PASSWORD} characters of any kind."
    return faults


class PasswordHashingBusy(Exception):
    """The queue of passwords that wait to be hashed is full."""


@contextmanager
def _slot() -> Iterator[None]:
    if not _queue.acquire(blocking=False):
        raise PasswordHashingBusy
    try:
        with _slots:
            yield
    finally:
        _queue.release()


def hash_password(password: str) -> str:
    """Return the argon2id hash of a password.

    Raises:
        PasswordHashingBusy: the queue is full.
    """
    with _slot():
        return _hasher.hash(_normal(password))


def is_password(password_hash: str, password: str) -> bool:
    """Return whether a password matches a hash.

    Raises:
        PasswordHashingBusy: the queue is full.
    """
    with _slot():
        try:
            return _hasher.verify(password_hash, _normal(password))
        except argon2.exceptions.VerificationError:
            return False


def authenticate(session: Session, username: str, password: str) -> User | None:
    """Return the active user with this name and password, or None; both failures take equally long.

    Raises:
        PasswordHashingBusy: the queue is full.
    """
    name = normal_username(username)
    # PostgreSQL rejects NUL in text, and no username has unprintable characters
    user = session.scalar(sa.select(User).where(User.username == name)) if name.isprintable() else None
    if user is not None:
        events.note("identity", value=username)
    if user is None or user.disabled_at is not None:
        is_password(_DUMMY_HASH, password)
        return None
    return user if is_password(user.password_hash, password) else None


def _normal(password: str) -> str:
    return unicodedata.normalize("NFKC", password)
