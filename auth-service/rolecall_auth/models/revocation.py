"""Revoked access tokens, stored in SQL and read from Redis (RFC 7009 section 2)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
import sqlalchemy as sa

from rolecall import clock, events
from rolecall.errors import unavailable
from rolecall.lean_redis import LeanRedis
from rolecall.sql import Database, insert_new
from rolecall_auth.models import revocation_entries as entries
from rolecall_auth.models.authorization import AuthorizationRecord
from rolecall_auth.models.revocation_entries import ADD, ADD_WHEN_FULL, BATCH, WHOLE, Ending, Entry, Revocation
from rolecall_auth.models.revocation_rebuild import Rebuild

_RUN_ID = re.compile(rb"run_id:([0-9a-f]+)")


class Revocations:
    """The set of revoked tokens in Redis, with one key per authorization.

    A marker holds the `run_id` of the Redis instance that the set was written to. If the marker is missing (Redis was
    emptied) or names another instance (a restart or a failover), the set is rebuilt from SQL. Until then, introspection
    returns 503 for every token that is not in the set.

    Args:
        prefix: the prefix of all keys.
        keep: seconds that Redis keeps an entry after it expires.
    """

    def __init__(self, database: Database, prefix: str, *, keep: int) -> None:
        self._database = database
        self._prefix = prefix
        self._keep = keep
        self._rebuild = Rebuild(database, prefix, keep)
        self._missing: set[Entry] = set()
        self._incomplete = False
        self.run_id = b""
        """The `run_id` of the instance that the newest connection reached."""
        self._client: LeanRedis | None = None

    def use(self, client: LeanRedis) -> None:
        """Use this client, whose pool must call `greet` for each new connection."""
        self._client = client

    def greet(self, connection: Any) -> None:
        """Read which Redis instance a new connection has reached, and add what could not be added before."""
        connection.on_connect()
        connection.send_command("INFO", "server")
        info = connection.read_response(disable_decoding=True)
        match = _RUN_ID.search(info if isinstance(info, bytes) else str(info).encode())
        self.run_id = match[1] if match else b"unknown"
        if self._incomplete:
            connection.send_command("DEL", self._rebuild.marker)
            connection.read_response(disable_decoding=True)
            self._incomplete = False
        if missing := self._missing.copy():
            keys, values = entries.arguments(self._prefix, list(missing), self._keep)
            connection.send_command("EVAL", ADD_WHEN_FULL, len(keys), *keys, *values)
            connection.read_response(disable_decoding=True)
            self._missing.difference_update(missing)

    def revoke_token(self, authorization_id: str, token_id: str, expires_at: float) -> None:
        """Revoke one access token."""
        row = {"token_id": token_id, "authorization_id": authorization_id, "expires_at": expires_at}
        with (
            self._added([Entry(authorization_id, token_id, expires_at)]),
            self._database.begin() as connection,
        ):
            insert_new(connection, Revocation.__table__, [row])  # a request may have revoked it already
        events.note("state", store="redis", key=f"{self._prefix}:revoked:{token_id[:6]}…", change="added")

    def end(self, reason: str, *which: sa.ColumnElement[bool]) -> int:
        """End the matching authorizations and all of their tokens, and return the number of authorizations.

        Authorizations that ended earlier are added to Redis again while they have valid tokens, so that repeating a
        call that failed halfway completes it.
        """
        return self._end(reason, Ending.of(*which), {})

    def end_one(self, reason: str, authorization_id: str) -> None:
        """End an authorization and all of its tokens; see `end`."""
        self._end(reason, entries.ONE, {"authorization": authorization_id})

    def end_record(self, reason: str, authorization: AuthorizationRecord) -> None:
        """End an authorization that this request has read, without reading it again first; see `end`."""
        found = entries.of_record(authorization, clock.now() - self._keep)
        self._end(reason, entries.ONE, {"authorization": authorization.id}, found)

    def _end(self, reason: str, ending: Ending, values: dict[str, Any], found: list[Entry] | None = None) -> int:
        since = clock.now() - self._keep
        if found is None:
            with self._database.connect() as connection:
                found = ending.entries(connection, since, values)
        with self._added(found) as ended, self._database.begin() as connection:
            connection.execute(ending.end, {**values, "now": clock.now(), "reason": reason})
            # includes authorizations and tokens that were created in the meantime
            ended[:] = ending.entries(connection, since, values)
        for entry in ended:
            key = f"authorization:{entry.authorization_id[:6]}…"
            events.note("state", store="sql", key=key, change="ended", reason=reason)
        return len(ended)

    def is_revoked(self, authorization_id: str, token_id: str) -> bool:
        """Return whether a token, or its whole authorization, was revoked. This takes one round trip.

        Raises:
            OAuthError: temporarily_unavailable, while the set is being rebuilt, unless it contains the token already.
        """
        self._add_missing()
        for _ in range(2):
            members, marker = self._redis.in_one_round_trip(
                ("SMISMEMBER", entries.key(self._prefix, authorization_id), token_id, WHOLE),
                ("GET", self._rebuild.marker),  # read last, so that it reveals a Redis that was emptied in between
            )
            if any(members):
                return True
            if marker is not None and marker == self.run_id:
                return False
            self._rebuild.run(self._redis, self.run_id)
        raise unavailable("the set of revoked tokens was lost again during the rebuild")

    @property
    def _redis(self) -> LeanRedis:
        assert self._client is not None
        return self._client

    @contextmanager
    def _added(self, before: list[Entry]) -> Iterator[list[Entry]]:
        """Add entries to Redis before and after the block, which writes to SQL and may change the later list.

        They are added before the block so that no token that SQL lists as revoked is active, and after it because Redis
        may have been emptied in the meantime and the set rebuilt from SQL without the new rows. If Redis fails, the
        block still runs, the entries are added before this process uses the set again, and the error is raised, so that
        the response is 503.
        """
        failure = self._try_to_add(before)
        after = before.copy()
        yield after
        if failure is None:
            failure = self._try_to_add(after)
        else:
            self._remember(after)
        if failure is not None:
            raise failure

    def _try_to_add(self, added: list[Entry]) -> redis.RedisError | None:
        try:
            self._add(added)
        except redis.RedisError as error:
            self._remember(added)
            return error
        return None

    def _add(self, added: list[Entry]) -> None:
        """Add entries, even when Redis is full, unless there are so many that they could exceed its memory."""
        script = ADD_WHEN_FULL if len(added) <= BATCH else ADD
        for start in range(0, len(added), BATCH):
            keys, values = entries.arguments(self._prefix, added[start : start + BATCH], self._keep)
            self._redis.eval(script, len(keys), *keys, *values)

    def _remember(self, missing: list[Entry]) -> None:
        """Remember entries that could not be added; if they are many, have the set rebuilt instead."""
        self._missing.update(missing)
        if len(self._missing) > BATCH:
            self._incomplete = True
            self._missing.clear()

    def _add_missing(self) -> None:
        if self._incomplete:
            self._redis.delete(self._rebuild.marker)
            self._incomplete = False
        if missing := self._missing.copy():
            self._add(list(missing))
            self._missing.difference_update(missing)
