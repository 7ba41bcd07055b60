"""The redaction of an exchange: its headers, parameters, and bodies, without the secrets.

Passwords, client secrets, cookies, and the tokens of client registration are never recorded. Codes and other tokens are
recorded as marks (see `marks`). The values of unknown parameters are hidden, and so are client IDs and usernames that
the service does not know. Finally, every secret that was found in the exchange is wiped from the rest of
it (see `wiping`), in case it also occurs where it is not expected.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any
from urllib.parse import unquote_plus

from rolecall_lab.recording.findings import HIDDEN
from rolecall_lab.recording.marks import decode, thumbprint, unverified_jwt
from rolecall_lab.recording.rules import (
    CLIENT_PATH,
    HEADER_NAME,
    MAX_BODY,
    MAX_ITEMS,
    MIN_SECRET,
    NAME_DIGEST,
    RANDOM,
    REQUEST_HEADERS,
    RESPONSE_HEADERS,
)
from rolecall_lab.recording.values import ValueRedaction


class Redaction(ValueRedaction):
    """The redaction of one exchange.

    Values join exchanges only where the protocol transmits them: in a query, a form, the top level of a response's
    JSON, and a redirect, but not in the claims of a JWT, which anyone can write, or in a URL within another URL.
    """

    def request_path(self, text: str) -> str:
        """Redact the path of a request, which may end with a client ID."""
        match = CLIENT_PATH.fullmatch(text)
        return f"{match[1]}…" if match and self._is_hidden_identity(match[2]) else self.path(text)

    def request_headers(self, headers: Mapping[str, str]) -> dict[str, Any]:
        """Redact the headers of a request, whose names are in lower case; the values of unknown headers are hidden."""
        result: dict[str, Any] = {}
        self.cut |= len(headers) > MAX_ITEMS
        for name, text in headers.items() if len(headers) <= MAX_ITEMS else [*headers.items()][:MAX_ITEMS]:
            if name in REQUEST_HEADERS:
                result[name] = self._text(text)
            elif name == "authorization":
                result[name] = self._authorization(text)
            elif name == "dpop":
                result[name] = self._dpop_proof(text)
            elif name == "cookie":
                result[name] = self._cookies(text.split(";"))
            else:
                result[_header_name(name)] = HIDDEN
        return result

    def response_headers(self, headers: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """Redact the headers of a response, whose names are in lower case; the values of unknown headers are hidden."""
        result: dict[str, Any] = {}
        self.cut |= len(headers) > MAX_ITEMS
        for name, text in headers[:MAX_ITEMS]:
            if name in RESPONSE_HEADERS:
                result[name] = self._text(text)
            elif name == "location":
                result[name] = self.url(text, joins=True)
            elif name == "set-cookie":
                result.setdefault(name, []).extend(self._cookies([text.partition(";")[0]]))
            else:
                result[_header_name(name)] = HIDDEN
        return result

    def json_body(self, body: bytes, *, is_response: bool = False) -> Any:
        """Redact a JSON body; the top-level members of a response join exchanges.

        Returns None if the body is not JSON or is too long.
        """
        if len(body) > MAX_BODY:
            self.cut = True
            return None
        if is_response and b'_token":' not in body:
            return self.part(body, partial(_redact_json, body, joins=True))
        return _redact_json(body, self, joins=is_response)

    def complete(self, event: dict[str, Any]) -> bytes | None:
        """Return an event as JSON with the values of its marks, or None if its members have to be wiped."""
        return self._secrets.complete(event)

    def wipe(self, value: Any) -> Any:
        """Return the redacted parts of the exchange without the secrets that were found in any of them."""
        self.link_hash_claims()
        return self._secrets.wipe(value, self.hash)

    def _authorization(self, text: str) -> dict[str, Any]:
        """Redact an `Authorization` header (RFC 9110 section 11.6.2).

        It does not use the services' parser, because it also has to redact headers that the services reject.
        """
        scheme, _, credentials = text.partition(" ")
        if scheme.lower() in {"bearer", "dpop"}:
            self._join("access_token", credentials)
            if not self.keeps_tokens:
                self._secrets.hide(credentials, credentials.strip())
                return {"scheme": scheme, "token": HIDDEN}
            self._secrets.add(credentials)
            self._tokens.append(credentials)
            return {"scheme": scheme, "token": self.mark(credentials, keep_value=True)}
        self._secrets.hide(credentials)
        if scheme.lower() == "basic":
            return {"scheme": scheme, **self._basic(credentials)}
        return HIDDEN

    def _basic(self, credentials: str) -> dict[str, Any]:
        """Return the client ID (RFC 6749 section 2.3.1); without a colon, the credentials may be just the secret."""
        try:
            user, colon, password = base64.b64decode(credentials, validate=True).decode().partition(":")
        except ValueError:
            return {}
        secret = password if colon else user
        self._secrets.hide(secret, unquote_plus(secret))
        if not colon:
            return {}
        client_id = unquote_plus(user)
        if self._is_hidden_identity(client_id):
            return {"client_id": HIDDEN}
        self._client_ids.add(client_id)
        return {"client_id": client_id[:100]}

    def _dpop_proof(self, text: str) -> dict[str, Any]:
        """Redact a DPoP proof (RFC 9449 section 4.2), and add the thumbprint of its key, which tokens are bound to."""
        proof = self.mark(text, keep_value=True)
        header, _ = unverified_jwt(text)
        jkt = thumbprint(header.get("jwk")) if header else None
        return proof | ({"jkt": {"value": jkt, "hash": self.hash(jkt)}} if jkt else {})

    def _cookies(self, pairs: Iterable[str]) -> list[str]:
        names = []
        for pair in pairs:
            name, _, text = pair.strip().partition("=")
            if len(text) >= MIN_SECRET:
                self._secrets.hide(text)
            name = NAME_DIGEST.sub("", name)
            if name in self._own_cookies:
                names.append(name)
        return names


def _redact_json(body: bytes, redaction: ValueRedaction, *, joins: bool = False) -> Any:
    try:
        return redaction.json(decode(body), joins=joins)
    except (ValueError, RecursionError):
        return None


@lru_cache(maxsize=512)
def _header_name(name: str) -> str:
    """Return the name of a header, or `?` if it looks like data."""
    return name if HEADER_NAME.fullmatch(name) and not RANDOM.search(name) else "?"
