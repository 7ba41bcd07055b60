"""Which access tokens were revoked before their time: committed to SQL, read from Redis (RFC 7009 section 2)."""

from __future__ import annotations

import logging
import re
from typing import Any, Final

import redis
import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from auth_service.models import Model
from auth_service.models.authorization import Authorization
from rolecall import clock, events
from rolecall.errors import unavailable
from rolecall.sql import Database

log = logging.getLogger(__name__)

_WHOLE: Final = "*"
"""The member that stands for every token of the authorization."""

_RUN_ID = re.compile(rb"run_id:([0-9a-f]+)")


class Revocation(Model):
    """A single access token that was revoked; `expires_at` is the token's own end."""

    __tablename__ = "revocation"

    token_id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    authorization_id: Mapped[str] = mapped_column(sa.String(64))
    expires_at: Mapped[float] = mapped_column(sa.Double, index=True)


class Revocations:
    """The set of revoked tokens in Redis, one key an authorization.

    A marker beside it holds the `run_id` of the Redis that the set was filled into. When it is missing (emptied) or
    another one (restarted, failed over), introspection answers 503 until the set is rebuilt from SQL.

    Args:
        prefix: of all keys.
        lifetime: seconds that an access token lives at most.
        keep: seconds that Redis keeps an entry after its end.
    """

    def __init__(self, database: Database, prefix: str, *, lifetime: int, keep: int) -> None:
        self._database = database
        self._prefix = prefix
        self._marker = f"{prefix}:revoked-run-id"
        self._lifetime = lifetime
        self._keep = keep
        self._run_id = b""
        self._client: redis.Redis | None = None

    def use(self, client: redis.Redis) -> None:
        """Work on this connection; its pool must greet new connections with `greet`."""
        self._client = client

    def greet(self, connection: Any) -> None:
        """Learn with each new connection which Redis it reaches."""
        connection.on_connect()
        connection.send_command("INFO", "server")
        answer = connection.read_response(disable_decoding=True)
        match = _RUN_ID.search(answer if isinstance(answer, bytes) else str(answer).encode())
        self._run_id = match[1] if match else b"unknown"

    def revoke_token(self, authorization_id: str, token_id: str, expires_at: float) -> None:
        """Revoke one access token."""
        with self._database.transaction() as session:
            if session.get(Revocation, token_id) is None:
                session.add(Revocation(token_id=token_id, authorization_id=authorization_id, expires_at=expires_at))
        self._add({authorization_id: {token_id}})
        events.note("state", store="redis", key=f"{self._prefix}:revoked:{token_id[:6]}…", change="added")

    def end(self, reason: str, *which: sa.ColumnElement[bool]) -> int:
        """End the authorizations that match, and with each everything that came of it; gives their number.

        Should Redis fail after SQL, the caller answers 503 and a repetition sets it right: those that ended before
        are put into Redis again.
        """
        with self._database.transaction() as session:
            session.execute(
                sa.update(Authorization)
                .where(Authorization.ended_at.is_(None), *which)
                .values(ended_at=clock.now(), end_reason=reason)
            )
            recent = Authorization.ended_at > clock.now() - self._lifetime - self._keep
            ended = list(session.scalars(sa.select(Authorization.id).where(recent, *which)))
        if ended:
            self._add({authorization_id: {_WHOLE} for authorization_id in ended})
        for authorization_id in ended:
            key = f"authorization:{authorization_id[:6]}…"
            events.note("state", store="sql", key=key, change="ended", reason=reason)
        return len(ended)

    def is_revoked(self, authorization_id: str, token_id: str) -> bool:
        """Whether the token or all of its authorization was revoked; one trip.

        Raises:
            OAuthError: temporarily_unavailable, while the set is being rebuilt.
        """
        for _ in range(2):
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.get(self._marker)
            pipeline.smismember(self._key(authorization_id), [token_id, _WHOLE])
            marker, members = pipeline.execute()
            if marker is not None and marker == self._run_id:
                return any(members)
            self._rebuild()
        raise unavailable("the set of revoked tokens was lost twice")

    @property
    def _redis(self) -> redis.Redis:
        assert self._client is not None
        return self._client

    def _key(self, authorization_id: str) -> str:
        return f"{self._prefix}:revoked:{{{authorization_id}}}"

    def _add(self, members: dict[str, set[str]]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for authorization_id, tokens in members.items():
            pipeline.sadd(self._key(authorization_id), *tokens)
            pipeline.expire(self._key(authorization_id), self._lifetime + self._keep)
        pipeline.execute()

    def _rebuild(self) -> None:
        lock = f"{self._marker}:lock"
        if not self._redis.set(lock, "1", nx=True, ex=10):
            raise unavailable("the set of revoked tokens is being rebuilt")
        run_id = self._run_id
        try:
            members = self._from_sql()
            self._add(members)
            self._redis.set(self._marker, run_id)
            log.warning("revocations rebuilt", extra={"authorizations": len(members)})
        finally:
            self._redis.delete(lock)

    def _from_sql(self) -> dict[str, set[str]]:
        members: dict[str, set[str]] = {}
        with self._database.read() as session:
            ended = sa.select(Authorization.id).where(
                Authorization.ended_at > clock.now() - self._lifetime - self._keep
            )
            for authorization_id in session.scalars(ended):
                members.setdefault(authorization_id, set()).add(_WHOLE)
            alive = sa.select(Revocation).where(Revocation.expires_at > clock.now() - self._keep)
            for revocation in session.scalars(alive):
                members.setdefault(revocation.authorization_id, set()).add(revocation.token_id)
        return members
