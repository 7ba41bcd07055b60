"""The findings of the redaction in an exchange: the values that join it to others, and the secrets."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection
from functools import lru_cache
from typing import Any, Final

from rolecall_lab.recording.marks import token_hashes
from rolecall_lab.recording.rules import CLIENT_CHOSEN, MAX_TEXT, MIN_SECRET
from rolecall_lab.recording.wiping import Secrets

HIDDEN: Final = {"hidden": True}
"""Replaces a value that is not recorded at all."""


class Findings:
    """The findings of one exchange.

    `handles` collects the keyed hashes that join the exchange to others; `chosen` is the subset of the values that a
    client chose. `cut` becomes true when a value is too long or has too many parts. `identities` is the set of client
    IDs and usernames that may be recorded, or None if all may; `keeps_tokens` is whether marks may include the value.

    Args:
        key: the key of the hashes, which must be the same in all services, or that of another instance.
        own_cookies: the names of cookies that may be recorded; browsers send the cookies of a host to all of its ports.
    """

    def __init__(self, key: str | bytes, own_cookies: Collection[str] = ()) -> None:
        self.handles: set[str] = set()
        self.chosen: set[str] = set()
        self.cut = False
        self.identities: frozenset[str] | None = None
        self.keeps_tokens = True
        self._key = _hash_key(key) if isinstance(key, str) else key
        self._own_cookies = own_cookies
        self._hashes: dict[str, str] = {}
        self._client_ids: set[str] = set()  # may look random, but are not secret
        self._secrets = Secrets()
        self._tokens: list[str] = []  # codes and access tokens
        self._hash_claims: list[dict[str, Any]] = []  # claims that may be the hash of one of the tokens

    def hash(self, text: str) -> str:
        """Return the keyed hash (BLAKE2b, 16 hexadecimal digits), which shows only whether values are equal."""
        keyed_hash = self._hashes.get(text)
        if keyed_hash is None:
            encoded = text.encode(errors="surrogatepass")
            keyed_hash = hashlib.blake2b(encoded, key=self._key, digest_size=8).hexdigest()
            self._hashes[text] = keyed_hash
        return keyed_hash

    def _add(self, part: Findings) -> None:
        """Add the findings in a part of the exchange."""
        self.handles |= part.handles
        self.chosen |= part.chosen
        self.cut |= part.cut
        self._client_ids |= part._client_ids
        self._secrets.update(part._secrets)
        self._tokens += part._tokens
        self._hash_claims += part._hash_claims

    def _is_hidden_identity(self, text: str) -> bool:
        """Return whether a client ID or username is unknown to the service; if so, hide it in the whole exchange."""
        if self.identities is None or text in self.identities or not text:
            return False
        self._secrets.hide(text)
        return True

    def _hidden_json(self, value: Any) -> Any:
        self._secrets.hide_json(value)
        return HIDDEN

    def _text(self, text: str) -> str:
        if len(text) <= MAX_TEXT:
            return text
        self.cut = True
        return text[:MAX_TEXT]

    def _join(self, name: str, text: str) -> None:
        if name == "code_verifier":
            text = base64.urlsafe_b64encode(hashlib.sha256(text.encode(errors="replace")).digest()).decode().rstrip("=")
        if len(text) < MIN_SECRET:
            return
        self.handles.add(self.hash(text))
        # the client chooses a request URI, unless the request was pushed: then it is a URN (RFC 9126 section 2.2)
        if name in CLIENT_CHOSEN or (name == "request_uri" and not text.startswith("urn:")):
            self.chosen.add(self.hash(text))

    def link_hash_claims(self) -> None:
        """Give each claim that is the hash of a code or token the keyed hash of that code or token."""
        if not self._hash_claims:
            return
        hashes = {text: self.hash(token) for token in self._tokens for text in token_hashes(token)}
        for claim in self._hash_claims:
            claim["hash"] = hashes.get(claim["value"], claim["hash"])


@lru_cache
def _hash_key(key: str) -> bytes:
    """Return a key of the length that BLAKE2b allows."""
    return hashlib.sha256(key.encode()).digest()
