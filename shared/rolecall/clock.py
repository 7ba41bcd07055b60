"""The clock of the services. The lab can shift it."""

from __future__ import annotations

import time

_offset = 0.0
_total_shift = 0.0


def now() -> float:
    """Return the time in seconds since the epoch (UTC); every expiry in the services is compared with it."""
    return time.time() + _offset


def offset() -> float:
    """Return the offset of this process's clock from the system clock, in seconds; 0.0 outside the lab."""
    return _offset


def set_offset(seconds: float) -> None:
    """Shift this process's clock to `seconds` ahead of the system clock. For the lab and the tests only."""
    global _offset, _total_shift
    _total_shift += abs(float(seconds) - _offset)
    _offset = float(seconds)


def monotonic() -> float:
    """Return a monotonic time in seconds, for durations; never for an expiry that a specification defines."""
    return time.monotonic()


def cache_time() -> float:
    """Return a monotonic time in seconds, for the age of entries in a process's caches.

    Shifting the clock in either direction moves this time forward by the same amount, so that cached entries expire too
    early rather than too late.
    """
    return monotonic() + _total_shift
