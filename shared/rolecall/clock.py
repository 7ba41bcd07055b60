"""The clock of the services. The lab can shift it.

Each application has a clock (`app.extensions["rolecall_clock"]`), by default that of the process. The functions use the
clock of the current application, or that of the process outside an application context.
"""

from __future__ import annotations

import time
from typing import TypeVar

from flask import Flask, current_app

T = TypeVar("T")


class Clock:
    """A clock with an offset from the system's clock, in seconds; it is 0.0 outside the lab and the tests."""

    __slots__ = ("_offset", "_total_shift")

    def __init__(self) -> None:
        self._offset = 0.0
        self._total_shift = 0.0

    @property
    def offset(self) -> float:
        """The offset from the system's clock, in seconds."""
        return self._offset

    @offset.setter
    def offset(self, seconds: float) -> None:
        self._total_shift += abs(float(seconds) - self._offset)
        self._offset = float(seconds)

    def now(self) -> float:
        """Return the time in seconds since the epoch (UTC)."""
        return time.time() + self._offset

    def cache_time(self) -> float:
        """Return a monotonic time in seconds; shifting the clock in either direction moves it forward."""
        return monotonic() + self._total_shift


PROCESS = Clock()
"""The clock of all applications of this process that do not have their own."""


def current_object(proxy: T) -> T:
    """Return the object behind a Flask proxy: each attribute access through the proxy takes a microsecond longer.

    Raises:
        RuntimeError: there is no such object outside of its context.
    """
    found: T = proxy._get_current_object()  # type: ignore[attr-defined]
    return found


def current() -> Clock:
    """Return the clock of the current application, or that of the process."""
    try:
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    except RuntimeError:
        return PROCESS
    found: Clock = app.extensions.get("rolecall_clock", PROCESS)
    return found


def now() -> float:
    """Return the time in seconds since the epoch (UTC); every expiry in the services is compared with it."""
    return current().now()


def offset() -> float:
    """Return the offset of the clock from the system's clock, in seconds; 0.0 outside the lab."""
    return current().offset


def set_offset(seconds: float) -> None:
    """Shift the clock to `seconds` ahead of the system's clock. For the lab and the tests only."""
    current().offset = seconds


def monotonic() -> float:
    """Return a monotonic time in seconds, for durations; never for an expiry that a specification defines."""
    return time.monotonic()


def cache_time() -> float:
    """Return a monotonic time in seconds, for the age of entries in a process's caches.

    Shifting the clock in either direction moves this time forward by the same amount, so that cached entries expire too
    early rather than too late.
    """
    return current().cache_time()
