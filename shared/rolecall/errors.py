"""One error for everything OAuth refuses, and its writers: the JSON body and `WWW-Authenticate`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from flask import Response, jsonify

_DESCRIPTION_CHARACTERS: Final = frozenset(chr(c) for c in range(0x20, 0x7F) if chr(c) not in '"\\')

NO_STORE: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class OAuthError(Exception):
    """A refusal in the terms of a specification (RFC 6749 section 5.2, RFC 6750 section 3.1).

    Args:
        error: the registered error code.
        description: goes out to the client; printable ASCII without quotes, never a piece of the request.
        detail: goes to the log only.
        status: HTTP status of the JSON form.
        challenge: the `WWW-Authenticate` header's value, where the status asks for one.
        retry_after: seconds for the `Retry-After` header of a 503.

    Raises:
        ValueError: the description holds a character that RFC 6749 section 5.2 forbids.
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
            raise ValueError("error_description holds a character that RFC 6749 section 5.2 forbids")
        super().__init__(error, description)
        self.error = error
        self.description = description
        self.detail = detail
        self.status = status
        self.challenge = challenge
        self.retry_after = retry_after


def unavailable(detail: str | None = None) -> OAuthError:
    """The error for a store that does not answer: 503 with `Retry-After`."""
    return OAuthError(
        "temporarily_unavailable",
        "A store that this service needs does not answer. Try again in a few seconds.",
        detail=detail,
        status=503,
        retry_after=2,
    )


def json_response(error: OAuthError) -> Response:
    """Write an error as RFC 6749 section 5.2 has it: JSON, not to be stored."""
    headers = dict(NO_STORE)
    if error.challenge is not None:
        headers["WWW-Authenticate"] = error.challenge
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    body = json.dumps({"error": error.error, "error_description": error.description})
    return Response(body, status=error.status, headers=headers, mimetype="application/json")


def json_body(body: Mapping[str, Any], status: int = 200) -> Response:
    """Write a JSON object that must not be stored."""
    response = jsonify(body)
    response.status_code = status
    response.headers.update(NO_STORE)
    return response


def challenge(scheme: str, **parameters: str) -> str:
    """A `WWW-Authenticate` value (RFC 9110 section 11.6.1): `scheme name="value", ...`."""
    pairs = ", ".join(f'{name}="{_quoted(value)}"' for name, value in parameters.items())
    return f"{scheme} {pairs}" if pairs else scheme


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
