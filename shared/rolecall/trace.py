"""W3C Trace Context: a trace id that connects the requests and log lines of all services."""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")

_trace_id: ContextVar[str | None] = ContextVar("rolecall_trace_id", default=None)


def begin(traceparent: str | None) -> str:
    """Set the trace id from an incoming `traceparent`, or generate a new id.

    It is the request id in logs and on error pages.
    """
    match = _TRACEPARENT.fullmatch(traceparent or "")
    trace_id = match[1] if match and set(match[1]) != {"0"} else secrets.token_hex(16)
    _trace_id.set(trace_id)
    return trace_id


def current() -> str | None:
    """Return the trace id of the current request: 32 hexadecimal digits."""
    return _trace_id.get()


def outgoing() -> str:
    """Return the `traceparent` header for a request that this service sends."""
    return f"00-{_trace_id.get() or secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
