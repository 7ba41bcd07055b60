"""Wiping: the secrets that were found in one part of an exchange are removed from its other parts.

The values of marks are the only place where secrets may be recorded. Until the end, a placeholder stands for each of
them, so that a secret anywhere in the JSON of an event means that there is something to wipe. Most events do not have
one, and searching their text takes a tenth of the time of a walk through all values.
"""

from __future__ import annotations

import itertools
import json
import re
import secrets
from collections.abc import Callable, Iterator
from typing import Any, Final

import orjson

from rolecall_lab.recording.marks import shorten
from rolecall_lab.recording.rules import EVENT_MEMBERS, JWT, MIN_SECRET

_encode_any: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode

_JWT: Final = re.compile(JWT.pattern.encode())

_PLACEHOLDER: Final = f"value-{secrets.token_hex(16)}-"
"""The start of placeholders; random, so that no message contains it."""

_numbers: Final = itertools.count()


def compact(value: Any) -> bytes:
    """Return any value as JSON without spaces; `orjson` does not support surrogates and integers of over 64 bits."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return _encode_any(value).encode()


class Secrets:
    """The secrets of one exchange."""

    __slots__ = ("_all", "_hidden", "_values")

    def __init__(self) -> None:
        self._all: set[str] = set()
        self._hidden: set[str] = set()
        self._values: dict[str, str] = {}

    @property
    def found(self) -> bool:
        """Whether there are any."""
        return bool(self._all)

    def update(self, others: Secrets) -> None:
        """Add the secrets of a part of the exchange."""
        self._all |= others._all
        self._hidden |= others._hidden
        self._values |= others._values

    def add(self, secret: str) -> None:
        """Add a secret that may be recorded in marks only."""
        self._all.add(secret)

    def hide(self, *secrets: str) -> None:
        """Add secrets that may not be recorded at all."""
        self._all.update(secrets)
        self._hidden.update(secrets)

    def hide_json(self, value: Any) -> None:
        """Add all strings and numbers of a JSON value as secrets that may not be recorded at all."""
        self.hide(*_texts(value))

    def placeholder(self, value: str) -> str:
        """Return what stands for the value of a mark until the end."""
        placeholder = f"{_PLACEHOLDER}{next(_numbers)}."
        self._values[placeholder] = value
        return placeholder

    def complete(self, event: dict[str, Any]) -> bytes | None:
        """Return an event as JSON with the values of its marks, or None if `wipe` has to be called."""
        try:
            text = orjson.dumps(event)
            if self._may_occur_in(text):
                return None
            for placeholder, value in self._values.items():
                text = text.replace(placeholder.encode(), orjson.dumps(value)[1:-1])
        except TypeError:  # the search needs texts that are all escaped in the same way
            return None
        return text

    def wipe(self, value: Any, keyed_hash: Callable[[str], str]) -> Any:
        """Return the JSON value without the secrets, except for the values of marks.

        Args:
            keyed_hash: the hash of the marks.
        """
        # longest first, because replacing a secret that is part of a longer one would leave the rest of the longer one
        secrets = sorted((secret for secret in self._all if len(secret) >= MIN_SECRET), key=len, reverse=True)
        return self._wiped(value, secrets, keyed_hash)

    def _may_occur_in(self, text: bytes) -> bool:
        """Return whether `wipe` may change the value of which this is the JSON; its strings may be escaped."""
        for secret in self._all:
            escaped = orjson.dumps(secret)
            if len(secret) >= MIN_SECRET:
                if escaped[1:-1] in text:
                    return True
            elif secret and secret in self._hidden and escaped in text:
                return True
        if any(map(self._contains_hidden, self._values.values())):
            return True
        return b"eyJ" in text and _JWT.search(text) is not None

    def _wiped(self, value: Any, secrets: list[str], keyed_hash: Callable[[str], str]) -> Any:
        kind = type(value)
        if kind is str:
            if len(value) < MIN_SECRET:
                return shorten(value) if value and value in self._hidden else value
            for secret in secrets:
                if secret in value:
                    value = value.replace(secret, shorten(secret))
            return JWT.sub(r"\1…", value) if "eyJ" in value else value
        if kind is dict:
            text = value.get("value")
            text = self._values.get(text, text) if isinstance(text, str) else None
            wiped = {
                key
                if len(key) < MIN_SECRET or key in EVENT_MEMBERS
                else self._wiped(key, secrets, keyed_hash): self._wiped(
                    text if key == "value" and text is not None else each, secrets, keyed_hash
                )
                for key, each in value.items()
            }
            # a genuine mark: only we can compute its hash
            if text is not None and value.get("hash") == keyed_hash(text) and not self._contains_hidden(text):
                wiped["value"] = text
            return wiped
        return [self._wiped(each, secrets, keyed_hash) for each in value] if kind is list else value

    def _contains_hidden(self, text: str) -> bool:
        """Return whether a value contains a secret that may not be recorded, such as a password sent as a token."""
        return any(secret in text for secret in self._hidden if len(secret) >= MIN_SECRET)


def _texts(value: Any) -> Iterator[str]:
    """Yield all strings and numbers of a JSON value; Python's JSON parser limits its depth."""
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield str(value)
