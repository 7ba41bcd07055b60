"""The only time that decides anything in the services."""

from __future__ import annotations

import time

_offset = 0.0
_turned = 0.0


def now() -> float:
    """Seconds since the epoch (UTC), as every expiry in the services is judged by."""
    return time.time() + _offset


def offset() -> float:
    """Seconds by which this process's clock is turned; 0.0 unless the lab turned it."""
    return _offset


def set_offset(seconds: float) -> None:
    """Turn this process's clock by `seconds` against the system's. Only the lab and the tests call it."""
    global _offset, _turned
    _turned += abs(float(seconds) - _offset)
    _offset = float(seconds)


def monotonic() -> float:
    """Seconds for durations; never for an expiry that a specification defines."""
    return time.monotonic()


def cache_time() -> float:
    """Seconds for the age of what a process keeps for a while.

    When the clock is turned, either way, it jumps on by as much: what is kept is then too old rather than too young.
    """
    return monotonic() + _turned
