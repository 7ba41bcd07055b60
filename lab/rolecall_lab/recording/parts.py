"""Redacted parts of messages that are kept for the next exchange with the same part.

Only parts that do not contain anything to hide, mark, or follow are kept, and without their text.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

MAX_PARTS: Final = 128

_parts: OrderedDict[bytes, Part] = OrderedDict()


@dataclass(frozen=True, slots=True)
class Part:
    """The redacted part, which may not be changed, and the client IDs in it."""

    redacted: Any
    client_ids: frozenset[str]


def _name(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=32).digest()  # faster than SHA-256 of OpenSSL for short texts


def known(text: bytes) -> Part | None:
    """Return the redacted part with this text, if there is one."""
    return _parts.get(_name(text))


def keep(text: bytes, part: Part) -> None:
    """Keep a part, and forget the oldest one if there are too many."""
    _parts[_name(text)] = part
    if len(_parts) > MAX_PARTS:
        with suppress(KeyError):  # another thread was faster
            _parts.popitem(last=False)
