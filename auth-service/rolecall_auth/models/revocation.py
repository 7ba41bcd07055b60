"""Revoked access tokens, stored in SQL and read from Redis (RFC 7009 section 2)."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import redis
import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from rolecall import clock, events
from rolecall.errors import unavailable
from rolecall.sql import Database
from rolecall_auth.models import Model
from rolecall_auth.models.authorization import Authorization
from rolecall_auth.settings import MAX_LIFETIME

log = logging.getLogger(__name__)

_WHOLE: Final = "*"
"""The set member that revokes every token of the authorization."""

REBUILD_WAIT: Final = 1.0
"""Seconds that a request waits for another one that is rebuilding the set, which usually takes less."""

# KEYS: the marker. ARGV: its expected value, its new value.
_FINISH: Final = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('SET', KEYS[1], ARGV[2]) and 1"

_RUN_ID = re.compile(rb"run_id:([0-9a-f]+)")


class Revocation(Model):
    """A single revoked access token; `expires_at` is when the token expires."""

    __tablename__ = "revocation"

    token_id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    authorization_id: Mapped[str] = mapped_column(sa.String(64))
    expires_at: Mapped[float] = mapped_column(sa.Double, index=True)


class Revocations:
    """The set of revoked tokens in Redis, with one key per authorization.

    A marker holds the `run_id` of the Redis instance that the set was written to. If the marker is missing (Redis was
    emptied) or names another instance (a restart or a failover), introspection returns 503 until the set is rebuilt
    from SQL.

    Args:
        prefix: the prefix of all keys.
        lifetime: the maximum lifetime of an access token in seconds.
        keep: seconds that Redis keeps an entry after it expires.
    """

    def __init__(self, database: Database, prefix: str, *, lifetime: int, keep: int) -> None:
        self._database = database
        self._prefix = prefix
        self._marker = f"{prefix}:revoked-run-id"
        # tokens issued under an earlier, longer setting are still valid
        self._horizon = max(lifetime, MAX_LIFETIME) + keep
        self._keep = keep
        self._incomplete = False
        self.run_id = b""
        """The `run_id` of the instance that the newest connection reached."""
        self._client: redis.Redis | None = None

    def use(self, client: redis.Redis) -> None:
        """Use this client, whose pool must call `greet` for each new connection."""
        self._client = client

    def greet(self, connection: Any) -> None:
        """Read which Redis instance a new connection has reached."""
        connection.on_connect()
        connection.send_command("INFO", "server")
        info = connection.read_response(disable_decoding=True)
        match = _RUN_ID.search(info if isinstance(info, bytes) else str(info).encode())
        self.run_id = match[1] if match else b"unknown"
        if self._incomplete:
            connection.send_command("DEL", self._marker)
            connection.read_response(disable_decoding=True)
            self._incomplete = False

    def revoke_token(self, authorization_id: str, token_id: str, expires_at: float) -> None:
        """Revoke one access token."""
        row = Revocation(token_id=token_id, authorization_id=authorization_id, expires_at=expires_at)
        with (
            self._added({authorization_id: {token_id}}),
            suppress(sa.exc.IntegrityError),  # a concurrent request has revoked the same token
            self._database.transaction() as session,
        ):
            if session.get(Revocation, token_id) is None:
                session.add(row)
        events.note("state", store="redis", key=f"{self._prefix}:revoked:{token_id[:6]}…", change="added")

    def end(self, reason: str, *which: sa.ColumnElement[bool]) -> int:
        """End the matching authorizations and all of their tokens, and return the number of authorizations.

        Authorizations that ended earlier are added to Redis again, so that repeating a call that failed halfway
        completes it.
        """
        recent = sa.or_(Authorization.ended_at.is_(None), Authorization.ended_at > clock.now() - self._horizon)
        query = sa.select(Authorization.id).where(recent, *which)
        with self._database.read() as session:
            found = list(session.scalars(query))
        with (
            self._added({authorization_id: {_WHOLE} for authorization_id in found}),
            self._database.transaction() as session,
        ):
            session.execute(
                sa.update(Authorization)
                .where(Authorization.ended_at.is_(None), *which)
                .values(ended_at=clock.now(), end_reason=reason, standing_key=None)
            )
            ended = list(session.scalars(query))
        with self._added({authorization_id: {_WHOLE} for authorization_id in ended if authorization_id not in found}):
            pass  # authorizations that were created in the meantime
        for authorization_id in ended:
            key = f"authorization:{authorization_id[:6]}…"
            events.note("state", store="sql", key=key, change="ended", reason=reason)
        return len(ended)

    def is_revoked(self, authorization_id: str, token_id: str) -> bool:
        """Return whether a token, or its whole authorization, was revoked. This takes one round trip.

        Raises:
            OAuthError: temporarily_unavailable, while the set is being rebuilt.
        """
        if self._incomplete:
            self._redis.delete(self._marker)
            self._incomplete = False
        for _ in range(2):
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.smismember(self._key(authorization_id), [token_id, _WHOLE])
            pipeline.get(self._marker)  # read last, so that it reveals a Redis that was emptied in between
            members, marker = pipeline.execute()
            if marker is not None and marker == self.run_id:
                return any(members)
            self._rebuild()
        raise unavailable("the set of revoked tokens was lost again during the rebuild")

    @property
    def _redis(self) -> redis.Redis:
        assert self._client is not None
        return self._client

    def _key(self, authorization_id: str) -> str:
        return f"{self._prefix}:revoked:{{{authorization_id}}}"

    @contextmanager
    def _added(self, members: dict[str, set[str]]) -> Iterator[None]:
        """Add members to Redis before and after the block, which writes to SQL.

        Before, so that no token that SQL lists as revoked is active. After, because Redis may have been emptied in the
        meantime, and the set rebuilt from SQL without the new rows. If Redis fails, the block still runs, the set is
        rebuilt before it is used again, and the error is raised, so that the response is 503.
        """
        failure = self._try_to_add(members)
        yield
        if failure is None:
            failure = self._try_to_add(members)
        if failure is not None:
            raise failure

    def _try_to_add(self, members: dict[str, set[str]]) -> redis.RedisError | None:
        try:
            self._add(members)
        except redis.RedisError as error:
            self._incomplete = True
            return error
        return None

    def _add(self, members: dict[str, set[str]]) -> None:
        if not members:
            return
        pipeline = self._redis.pipeline(transaction=False)
        for authorization_id, tokens in members.items():
            pipeline.sadd(self._key(authorization_id), *tokens)
            pipeline.expire(self._key(authorization_id), int(self._horizon))
        pipeline.execute()

    def _rebuild(self) -> None:
        lock = self._redis.lock(f"{self._marker}:lock", timeout=10, sleep=0.02, blocking_timeout=REBUILD_WAIT)
        if not lock.acquire():
            raise unavailable("the set of revoked tokens is being rebuilt")
        run_id, attempt = self.run_id, secrets.token_hex(8)
        try:
            if self._redis.get(self._marker) == run_id:
                return  # another process has just rebuilt it
            # if Redis loses its data during the rebuild, it loses this marker too
            self._redis.set(self._marker, attempt, ex=60)
            members = self._from_sql()
            self._add(members)
            self._redis.eval(_FINISH, 1, self._marker, attempt, run_id)
            log.warning("revocations rebuilt", extra={"authorizations": len(members)})
        finally:
            with suppress(redis.exceptions.LockError):
                lock.release()

    def _from_sql(self) -> dict[str, set[str]]:
        members: dict[str, set[str]] = {}
        with self._database.read() as session:
            ended = sa.select(Authorization.id).where(Authorization.ended_at > clock.now() - self._horizon)
            for authorization_id in session.scalars(ended):
                members.setdefault(authorization_id, set()).add(_WHOLE)
            alive = sa.select(Revocation).where(Revocation.expires_at > clock.now() - self._keep)
            for revocation in session.scalars(alive):
                members.setdefault(revocation.authorization_id, set()).add(revocation.token_id)
        return members
