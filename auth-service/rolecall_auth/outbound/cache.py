"""The time for which a fetched response may be reused (RFC 9111)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from typing import Final

from rolecall import clock
from rolecall_auth.outbound.policy import FetchError

MIN_LIFETIME: Final = 5.0
"""Seconds in which a URL is fetched at most twice, the second time only to refresh content that did not fit.

Failures are also kept this long.
"""

DEFAULT_LIFETIME: Final = 300.0
"""Seconds that a response is kept when it does not state a lifetime."""

MAX_LIFETIME: Final = 86400.0
"""The longest time in seconds that a response is kept."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """The `body` of a 200 response, and its `content_type` as sent, or an empty string."""

    body: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """The outcome of a fetch: the content, or the text of the failure.

    `fetched_at` and `expires_at` are in seconds of `clock.cache_time`; `renewed` is true if the fetch replaced content
    that was still fresh.
    """

    fetched_at: float
    expires_at: float
    outcome: Fetched | str
    renewed: bool = False

    def content(self) -> Fetched:
        """Return the content.

        Raises:
            FetchError: the fetch failed.
        """
        if isinstance(self.outcome, str):
            raise FetchError(self.outcome)
        return self.outcome


def freshness_lifetime(headers: Mapping[str, str]) -> float:
    """Return how many seconds to keep a response, from Cache-Control or Expires (RFC 9111 sections 5.2.2 and 5.3)."""
    pairs = (part.strip().lower().partition("=") for part in headers.get("cache-control", "").split(","))
    directives = {name: value.strip('" ') for name, _, value in pairs}
    if directives.keys() & {"no-store", "no-cache"}:
        return MIN_LIFETIME
    age = _delta_seconds(headers.get("age", "0"))
    if "max-age" in directives:
        lifetime: float = _delta_seconds(directives["max-age"]) - age
    elif "expires" in headers:
        # both times come from the sender's clock, so a wrong clock there does not change the difference
        lifetime = _timestamp(headers["expires"]) - _timestamp(headers.get("date", formatdate(clock.now()))) - age
    else:
        return DEFAULT_LIFETIME
    return min(max(lifetime, MIN_LIFETIME), MAX_LIFETIME)


def _timestamp(text: str) -> float:
    """Parse an HTTP date to seconds since the epoch; an invalid date is in the past (RFC 9111 section 5.3)."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _delta_seconds(text: str) -> int:
    """Parse a number of seconds; invalid text counts as 0 (RFC 9111 section 1.2.2)."""
    return int(text[:9]) if re.fullmatch("[0-9]+", text) else 0
