"""The replay cache in Redis for identifiers that may be used only once, such as `jti` (RFC 7523 section 3)."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import redis

from rolecall import clock, events
from rolecall.errors import OAuthError
from rolecall.storage import Store, abbreviated_key

log = logging.getLogger(__name__)


class Replays:
    """The used identifiers, and a marker with the time since which this Redis instance has lost none of them.

    The marker contains the `run_id` of the instance and that time. If the marker is missing (Redis was emptied) or
    names another instance (a restart or a failover), identifiers may be lost. From then on, everything issued before
    the new marker's time is rejected, whether it was used or not.

    Args:
        run_id: returns the `run_id` of the instance that this process is connected to.
    """

    def __init__(self, store: Store, run_id: Callable[[], bytes]) -> None:
        self._store = store
        self._run_id = run_id
        self.marker = f"{store.prefix}:replays-since"

    def greet(self, connection: Any) -> None:
        """Write the marker on a new connection if it is missing or names another instance."""
        connection.send_command("GET", self.marker)
        mark = connection.read_response(disable_decoding=True)
        if (mark or b"").partition(b" ")[0] == self._run_id():
            return
        connection.send_command("SET", self.marker, self._mark(_next_second()))
        with suppress(redis.ResponseError):  # a Redis that is out of memory can still be read
            connection.read_response(disable_decoding=True)

    def claim(self, kind: str, name: str, issued_at: float, lifetime: float, *, is_estimate: bool = False) -> bool:
        """Mark an identifier as used, and return whether it was unused. Exactly one caller gets True.

        This takes one round trip.

        Args:
            issued_at: when the object with this identifier was issued, in seconds since the epoch.
            lifetime: seconds for which the object is valid.
            is_estimate: whether `issued_at` is the earliest possible time, because the object does not state it.

        Raises:
            OAuthError: temporarily_unavailable, if it was issued before the time in the marker. `Retry-After` is when a
                new object with the same lifetime will be accepted: soon if it states its time of issue.
            redis.RedisError: Redis does not respond.
        """
        key = self._store.key(kind, name)
        claimed, mark = self._store.client.in_one_round_trip(
            ("SET", key, b"1", "NX", "EX", self._store.redis_ttl(lifetime)),
            ("GET", self.marker),  # read last, so that it reveals a Redis that was emptied in between
        )
        if issued_at < (since := self._since(mark)):
            raise OAuthError(
                "temporarily_unavailable",
                "The record of used identifiers may have been lost. Try again with a new one that has a current iat.",
                detail=f"{kind}: issued at {issued_at:.0f}, but used identifiers are known only since {since:.0f}",
                status=503,
                retry_after=math.ceil(since - issued_at) if is_estimate else 1,
            )
        if claimed:
            events.note("state", store="redis", key=abbreviated_key(key), change="set", seconds=round(lifetime))
        return bool(claimed)

    def _since(self, mark: bytes | None) -> float:
        run_id, _, since = (mark or b"").partition(b" ")
        # a marker from the future was written before the clock was set back
        if run_id == self._run_id() and float(since) <= _next_second():
            return float(since)
        now = _next_second()
        self._store.client.set(self.marker, self._mark(now))
        log.warning("used identifiers may be lost; rejecting everything issued earlier", extra={"since": now})
        return now

    def _mark(self, since: int) -> bytes:
        return b"%b %d" % (self._run_id(), since)


def _next_second() -> int:
    """Return the next full second: `iat` has whole seconds, so a used object may have been issued in this second."""
    return math.floor(clock.now()) + 1
