"""What may be used only once and names itself (`jti`): used names are kept in Redis (RFC 7523 section 3)."""

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
    """The names that were used. A marker beside them says since when this Redis has forgotten none.

    It holds the `run_id` of the Redis and a time. When it is missing (emptied) or of another Redis (restarted, failed
    over), names may be lost: what was made before is refused from then on, used or not.

    Args:
        run_id: tells which Redis this process is connected to.
    """

    def __init__(self, store: Store, run_id: Callable[[], bytes]) -> None:
        self._store = store
        self._run_id = run_id
        self.marker = f"{store.prefix}:replays-since"

    def greet(self, connection: Any) -> None:
        """Mark a Redis that is new, or came back, before anybody relies on it."""
        connection.send_command("GET", self.marker)
        mark = connection.read_response(disable_decoding=True)
        if (mark or b"").partition(b" ")[0] == self._run_id():
            return
        connection.send_command("SET", self.marker, self._mark(_next_second()))
        with suppress(redis.ResponseError):  # one that is full can be read all the same
            connection.read_response(disable_decoding=True)

    def claim(self, kind: str, name: str, made_at: float, lifetime: float) -> bool:
        """Whether nobody used the name before: of several who do at once only one hears yes; one trip.

        Args:
            made_at: seconds; when what has the name was made.
            lifetime: seconds for which it would be good.

        Raises:
            OAuthError: temporarily_unavailable, when it was made before what this Redis remembers.
            redis.RedisError: Redis does not answer.
        """
        key = self._store.key(kind, name)
        pipeline = self._store.client.pipeline(transaction=False)
        # the marker last: what is emptied in between shows
        pipeline.set(key, b"1", nx=True, ex=self._store.redis_ttl(lifetime))
        pipeline.get(self.marker)
        claimed, mark = pipeline.execute()
        if made_at < (since := self._since(mark)):
            raise OAuthError(
                "temporarily_unavailable",
                "The server may have forgotten what was used before. Try again with one that is made now, and says so.",
                detail=f"{kind}: made at {made_at:.0f}, and used names are known since {since:.0f}",
                status=503,
                retry_after=1,
            )
        if claimed:
            events.note("state", store="redis", key=abbreviated_key(key), change="set", seconds=round(lifetime))
        return bool(claimed)

    def _since(self, mark: bytes | None) -> float:
        run_id, _, since = (mark or b"").partition(b" ")
        # a time to come is of a clock that was turned back since
        if run_id == self._run_id() and float(since) <= _next_second():
            return float(since)
        now = _next_second()
        self._store.client.set(self.marker, self._mark(now))
        log.warning("used names may be lost: what was made before is refused", extra={"since": now})
        return now

    def _mark(self, since: int) -> bytes:
        return b"%b %d" % (self._run_id(), since)


def _next_second() -> int:
    """What says in whole seconds when it was made could have been made, and used, earlier in this one."""
    return math.floor(clock.now()) + 1
