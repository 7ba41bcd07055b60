"""Wiping: the secrets that were found in one part of an exchange are removed from its other parts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from rolecall_lab.recording.marks import shorten
from rolecall_lab.recording.rules import EVENT_MEMBERS, JWT, MIN_SECRET


class Secrets:
    """The secrets of one exchange."""

    __slots__ = ("_all", "_hidden")

    def __init__(self) -> None:
        self._all: set[str] = set()
        self._hidden: set[str] = set()

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

    def wipe(self, value: Any, keyed_hash: Callable[[str], str]) -> Any:
        """Return the JSON value without the secrets, except for the values of marks.

        Args:
            keyed_hash: the hash of the marks.
        """
        if not self._all and "eyJ" not in json.dumps(value):
            return value  # the common case; walking through the value takes as long as the rest of the redaction
        # longest first, because replacing a secret that is part of a longer one would leave the rest of the longer one
        secrets = sorted((secret for secret in self._all if len(secret) >= MIN_SECRET), key=len, reverse=True)
        return self._wiped(value, secrets, keyed_hash)

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
            wiped = {
                key
                if len(key) < MIN_SECRET or key in EVENT_MEMBERS
                else self._wiped(key, secrets, keyed_hash): self._wiped(each, secrets, keyed_hash)
                for key, each in value.items()
            }
            text = value.get("value")
            # a genuine mark: only we can compute its hash
            if isinstance(text, str) and value.get("hash") == keyed_hash(text) and not self._contains_hidden(text):
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
