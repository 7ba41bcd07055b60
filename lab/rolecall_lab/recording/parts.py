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


def name_of(text: bytes) -> bytes:
    """Return the name under which a part with this text is kept."""
    return hashlib.blake2b(text, digest_size=32).digest()  # faster than SHA-256 of OpenSSL for short texts


def known(name: bytes) -> Part | None:
    """Return the redacted part with this name, or None."""
    return _parts.get(name)


def keep(name: bytes, part: Part) -> None:
    """Keep a part, and forget the oldest one if there are too many."""
    _parts[name] = part
    if len(_parts) > MAX_PARTS:
        with suppress(KeyError):  # another thread was faster
            _parts.popitem(last=False)
