"""Documents that change rarely, such as metadata: prepared bytes with an ETag."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Response, request

from rolecall.responses import PreparedResponse
from rolecall.storage import digest

_CONDITIONS = ("HTTP_IF_NONE_MATCH", "HTTP_IF_MATCH", "HTTP_IF_MODIFIED_SINCE", "HTTP_IF_UNMODIFIED_SINCE")


@dataclass(frozen=True, slots=True)
class Document:
    """A prepared body with its headers."""

    body: bytes
    headers: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, text: str, media_type: str, max_age: int, *more: tuple[str, str]) -> Document:
        """Prepare a document.

        Args:
            max_age: seconds for which clients may cache it.
            more: further headers.
        """
        etag = f'"{digest(text)[:32]}"'
        headers = (("Content-Type", media_type), ("ETag", etag), ("Cache-Control", f"public, max-age={max_age}"))
        return cls(f"{text}\n".encode(), (*headers, *more))

    def response(self) -> Response:
        """Return the document, or 304 if the client has it already (RFC 9110 section 13.1.2)."""
        response = PreparedResponse(self.body, headers=self.headers)
        if any(name in request.environ for name in _CONDITIONS):
            response.make_conditional(request)
        return response
