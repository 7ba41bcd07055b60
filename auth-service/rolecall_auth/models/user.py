"""People and their passwords (argon2id, as RFC 9106 section 4 recommends for interactive use)."""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import argon2
import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from rolecall import clock
from rolecall_auth.models import Model, new_id

_hasher = argon2.PasswordHasher()
# One hash takes 64 MiB and a core for a while: more at once would only make all of them slow.
_slots = threading.BoundedSemaphore(2)
# Who waits for a slot holds a thread: some threads must stay free for those who need no password.
_queue = threading.BoundedSemaphore(8)
_nobody = "$argon2id$v=19$m=65536,t=3,p=4$uvxs/y5qSKJ+w+sezBatmg$gprqWtPTkwEKLgk5MK6SultMyQKcqUC6uRR3WxhO9WI"
"""A hash that no password has, so that an unknown name costs as much time as a wrong password."""


_USERNAME: Final = re.compile(r"[\w.\-]{2,40}")
MIN_PASSWORD: Final = 8
MAX_PASSWORD: Final = 200
"""Characters; NIST SP 800-63B asks for eight or more, and for no rules about which."""


class User(Model):
    """A resource owner. `id` is the `sub` of tokens: random, never used again, never equal to a client id.

    `claims` are the standard claims that are known of the person (OpenID Connect Core section 5.1).
    """

    __tablename__ = "user_account"

    id: Mapped[str] = mapped_column(sa.String(64), primary_key=True, default=lambda: "usr_" + new_id())
    username: Mapped[str] = mapped_column(sa.String(64), unique=True)
    password_hash: Mapped[str] = mapped_column(sa.String(255))
    claims: Mapped[dict[str, Any]] = mapped_column(sa.JSON, nullable=True, default=dict)
    created_at: Mapped[float] = mapped_column(sa.Double, default=clock.now)
    disabled_at: Mapped[float | None] = mapped_column(sa.Double)

    def get_user_id(self) -> str:
        """The subject, as Authlib asks for it."""
        return self.id


def is_active(session: Session, user_id: str) -> bool:
    """Whether this person is (still) known and not disabled: a sign-in may outlive an account."""
    user = session.get(User, user_id)
    return user is not None and user.disabled_at is None


def normal_username(text: str) -> str:
    """The form in which names are kept and compared."""
    return unicodedata.normalize("NFKC", text).strip().casefold()


def account_faults(username: str, password: str) -> dict[str, str]:
    """What is wrong with a name (in its normal form) and a password for a new account, by field."""
    faults = {}
    if not _USERNAME.fullmatch(username):
        faults["username"] = "A name has 2 to 40 letters, digits, dots, hyphens or underscores."
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD or "\0" in password:
        faults["password"] = f"A password has {MIN_PASSWORD} to {MAX_PASSWORD} characters, of any kind."
    return faults


class Busy(Exception):
    """As many passwords as may wait do wait to be hashed."""


@contextmanager
def _slot() -> Iterator[None]:
    if not _queue.acquire(blocking=False):
        raise Busy
    try:
        with _slots:
            yield
    finally:
        _queue.release()


def hash_password(password: str) -> str:
    """The argon2id hash to keep.

    Raises:
        Busy: too many are hashed at this moment.
    """
    with _slot():
        return _hasher.hash(_normal(password))


def is_password(password_hash: str, password: str) -> bool:
    """Whether `password` is the one that was hashed.

    Raises:
        Busy: too many are hashed at this moment.
    """
    with _slot():
        try:
            return _hasher.verify(password_hash, _normal(password))
        except argon2.exceptions.VerificationError:
            return False


def authenticate(session: Session, username: str, password: str) -> User | None:
    """The person with this name and password; an unknown name takes as long as a wrong password."""
    name = normal_username(username)
    # PostgreSQL refuses a NUL in a text, and no name has anything unprintable
    user = session.scalar(sa.select(User).where(User.username == name)) if name.isprintable() else None
    if user is None or user.disabled_at is not None:
        is_password(_nobody, password)
        return None
    return user if is_password(user.password_hash, password) else None


def _normal(password: str) -> str:
    return unicodedata.normalize("NFKC", password)
