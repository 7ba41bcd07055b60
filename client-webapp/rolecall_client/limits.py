"""The limits on the data that browsers may store at Tally."""

from __future__ import annotations

from typing import Final

from rolecall.limits import Limit

FLOW_BYTES: Final = Limit(
    "flow-bytes",
    "4000000/31 minutes",
    "Bytes of unfinished flows from one address.",
    "Too many requests",
    "Too many connections and sign-ins have been started from this address. Try again in {wait}.",
    unit="bytes",
)
ANONYMOUS_BYTES: Final = Limit(
    "anonymous-bytes",
    "20000000/31 minutes",
    "Bytes of unfinished flows of all users who are not signed in, together.",
    "Tally is busy",
    "Too many people are connecting to Tally at the moment. Try again in {wait}.",
    unit="bytes",
    status=503,
)
SESSION: Final = Limit(
    "session",
    "3000/12 hours",
    "New connections and sign-ins from one address.",
    "Too many sign-ins",
    "Too many connections and sign-ins came from this address. Try again in {wait}.",
    is_joint=True,
)

LIMITS: Final = (FLOW_BYTES, ANONYMOUS_BYTES, SESSION)
"""All limits. The settings, the lab's defaults, and the documentation have one entry for each row."""
