"""Rebuilding of the set of revoked tokens in Redis from SQL: in batches, by one process at a time."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, Final

import redis
from flask import current_app, has_app_context

from rolecall import clock
from rolecall.errors import unavailable
from rolecall.metrics import REVOCATION_REBUILDS, REVOCATIONS_LOADED
from rolecall.sql import UNAVAILABLE, Database
from rolecall_auth.models import revocation_entries as entries
from rolecall_auth.models.revocation_entries import ADD, Entry

log = logging.getLogger(__name__)

REBUILD_WAIT: Final = 1.0
"""Seconds that requests wait for a rebuild, counted from its start; it usually takes less."""

LEASE: Final = 10.0
"""Seconds after its last batch at which a rebuild counts as abandoned, so that another process may start again."""

RETRY: Final = 1.0
"""Seconds between a failed rebuild and the next attempt."""

PROGRESS: Final = 5.0
"""Seconds between two log lines about the progress."""

_POLL: Final = 0.02

# The marker is also the lease: while it starts with "rebuilding", it expires unless its owner renews it.
# KEYS: the marker. ARGV: the run_id, the new owner, milliseconds. Returns the marker's value.
_CLAIM: Final = """#!lua flags=allow-oom
local marker = redis.call('GET', KEYS[1])
if marker and (marker == ARGV[1] or string.sub(marker, 1, 10) == 'rebuilding') then return marker end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return ARGV[2]
"""

# Like ADD, but only for the owner of the lease. The script renews the lease at the end: as the first write, the renewal
# would allow the other writes even when Redis is full. The last key is the marker; the last arguments are its owner and
# milliseconds. Returns 1 or 0.
_LOAD: Final = f"""
local marker = table.remove(KEYS)
local lease = table.remove(ARGV)
local owner = table.remove(ARGV)
if redis.call('GET', marker) ~= owner then return 0 end
{ADD.replace("return 1", "")}
redis.call('PEXPIRE', marker, lease)
return 1
"""

# KEYS: the marker. ARGV: its owner, the run_id. Returns 1 or 0.
_FINISH: Final = """#!lua flags=allow-oom
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""

# KEYS: the marker. ARGV: its owner, milliseconds.
_FAIL: Final = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('PEXPIRE', KEYS[1], ARGV[2])"


class Rebuild:
    """The rebuild of the set, in a thread that one process starts when a request needs the set.

    Args:
        prefix: the prefix of all keys.
        keep: seconds that Redis keeps an entry after it expires.
    """

    def __init__(self, database: Database, prefix: str, keep: int) -> None:
        self._database = database
        self._prefix = prefix
        self._keep = keep
        self.marker = f"{prefix}:revoked-run-id"
        """The key of the marker."""
        self._seen: tuple[bytes, float] = (b"", 0.0)

    def run(self, client: redis.Redis, run_id: bytes) -> None:
        """Start a rebuild, unless one is running, and wait for its end; the caller then reads the marker again.

        Args:
            run_id: the Redis instance that the set is for.

        Raises:
            OAuthError: temporarily_unavailable, if the rebuild takes longer than `REBUILD_WAIT`.
        """
        attempt = f"rebuilding {secrets.token_hex(8)}".encode()
        owner: Any = client.eval(_CLAIM, 1, self.marker, run_id, attempt, round(LEASE * 1000))
        if owner == run_id:
            return  # another process has just finished
        if owner == attempt:
            # no thread of the parent process survives a fork, so each rebuild has a new one
            context = current_app.app_context() if has_app_context() else nullcontext()
            work = (context, client, attempt, run_id)
            threading.Thread(target=self._work, args=work, name="revocations", daemon=True).start()
        self._wait(client, owner)

    def _wait(self, client: redis.Redis, owner: bytes) -> None:
        if owner != self._seen[0]:
            self._seen = (owner, clock.monotonic())
        deadline = self._seen[1] + REBUILD_WAIT
        while clock.monotonic() < deadline:
            time.sleep(_POLL)
            if client.get(self.marker) != owner:
                return
        raise unavailable("the set of revoked tokens is being rebuilt")

    def _work(self, context: AbstractContextManager[Any], client: redis.Redis, attempt: bytes, run_id: bytes) -> None:
        # the context has the clock of the application
        with context, REVOCATION_REBUILDS.track_inprogress():
            try:
                if not self._load(client, attempt, run_id):
                    log.warning("rebuild of the revocations stopped: Redis was emptied, or another one has started")
            except Exception as error:  # the next request starts another one
                log.warning(
                    "rebuild of the revocations failed", extra={"detail": f"{type(error).__name__}: {error}"[:300]}
                )
                with suppress(redis.RedisError):
                    client.eval(_FAIL, 1, self.marker, attempt, round(RETRY * 1000))

    def _load(self, client: redis.Redis, attempt: bytes, run_id: bytes) -> bool:
        """Load the entries and set the marker; return False if this attempt no longer has the lease."""
        since = clock.now() - self._keep
        started = logged = clock.monotonic()
        total, loaded = self._count(since), 0
        for batch in entries.batches(self._database, since):
            if not self._write(client, attempt, batch):
                return False
            loaded += len(batch)
            REVOCATIONS_LOADED.inc(len(batch))
            if clock.monotonic() - logged >= PROGRESS:
                logged = clock.monotonic()
                log.warning("revocations are being rebuilt", extra={"loaded": loaded, "total": total})
        if not client.eval(_FINISH, 1, self.marker, attempt, run_id):
            return False
        seconds = round(clock.monotonic() - started, 1)
        log.warning("revocations rebuilt", extra={"loaded": loaded, "seconds": seconds})
        return True

    def _count(self, since: float) -> int | None:
        """Return the number of rows, for the log only; None if the database does not count them in time."""
        with suppress(*UNAVAILABLE):
            return entries.count(self._database, since)
        return None

    def _write(self, client: redis.Redis, attempt: bytes, batch: list[Entry]) -> bool:
        """Write a batch and renew the lease, or return False if this attempt no longer has it."""
        keys, values = entries.arguments(self._prefix, batch, self._keep)
        keys.append(self.marker)
        return bool(client.eval(_LOAD, len(keys), *keys, *values, attempt, round(LEASE * 1000)))
