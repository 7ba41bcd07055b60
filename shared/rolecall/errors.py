"""The OAuth error, and the functions that write it as a JSON body and a `WWW-Authenticate` header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from flask import Response, current_app

from rolecall.responses import PreparedResponse

_DESCRIPTION_CHARACTERS: Final = frozenset(chr(c) for c in range(0x20, 0x7F) if chr(c) not in '"\\')

NO_STORE: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}

_JSON_HEADERS: Final = (("Content-Type", "application/json"), *NO_STORE.items())

_encode: Final = json.JSONEncoder(separators=(",", ":")).encode


class OAuthError(Exception):
    """An error response as OAuth defines it (RFC 6749 section 5.2, RFC 6750 section 3.1).

    Args:
        error: the registered error code.
        description: the `error_description` of the response: printable ASCII without quotes or backslashes. It may
            contain parts of the request only if their grammar allows no other characters and their length is limited.
        detail: a text for the log, and for responses only where a wrapper of the application adds it.
        status: the HTTP status of the JSON response.
        challenge: the value of the `WWW-Authenticate` header, if any.
        retry_after: seconds for the `Retry-After` header.

    Raises:
        ValueError: the description contains a character that RFC 6749 section 5.2 does not allow.
    """

    def __init__(
        self,
        error: str,
        description: str,
        *,
        detail: str | None = None,
        status: int = 400,
        challenge: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        if not _DESCRIPTION_CHARACTERS.issuperset(description):
            raise ValueError("error_description contains a character that RFC 6749 section 5.2 does not allow")
        super().__init__(error, description)
        self.error = error
        self.description = description
        self.detail = detail
        self.status = status
        self.challenge = challenge
        self.retry_after = retry_after


def description_of(error: OAuthError) -> str:
    """Return the description for a response: the error's own, unless a wrapper of the application extends it.

    A wrapper stores a function of the error as `app.extensions["rolecall_describe"]`.
    """
    describe = current_app.extensions.get("rolecall_describe") if current_app else None
    return str(describe(error)) if describe else error.description


def allowed_in_description(text: str) -> str:
    """Return the text with a question mark for each character that a description may not contain."""
    return "".join(character if character in _DESCRIPTION_CHARACTERS else "?" for character in text)


def unavailable(detail: str | None = None) -> OAuthError:
    """Return the error for an unavailable store: 503 with `Retry-After`."""
    return OAuthError(
        "temporarily_unavailable",
        "A dependency of this service is unavailable. Try again in a few seconds.",
        detail=detail,
        status=503,
        retry_after=2,
    )


def json_response(error: OAuthError) -> Response:
    """Return an error as a JSON response that must not be cached (RFC 6749 section 5.2)."""
    headers = dict(NO_STORE)
    if error.challenge is not None:
        headers["WWW-Authenticate"] = error.challenge
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    body = json.dumps({"error": error.error, "error_description": description_of(error)}) + "\n"
    return Response(body, status=error.status, headers=headers, mimetype="application/json")


def json_body(body: Mapping[str, Any], status: int = 200) -> Response:
    """Return a JSON object as a response that must not be cached."""
    return PreparedResponse(f"{_encode(body)}\n".encode(), status, _JSON_HEADERS)


def challenge(scheme: str, **parameters: str) -> str:
    """Return a `WWW-Authenticate` value (RFC 9110 section 11.6.1): `scheme name="value", ...`."""
    pairs = ", ".join(f'{name}="{_quoted(value)}"' for name, value in parameters.items())
    return f"{scheme} {pairs}" if pairs else scheme


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
