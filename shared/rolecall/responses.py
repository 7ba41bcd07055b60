"""Responses whose headers are complete when they are created."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from flask import Response

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_WITHOUT_BODY: Final = frozenset({204, 304})


class PreparedResponse(Response):
    """A response with a body of bytes, and with ASCII URLs in its headers: Werkzeug has nothing to correct."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Send the response."""
        if environ["REQUEST_METHOD"] == "HEAD" or self.status_code in _WITHOUT_BODY or not self.is_sequence:
            return super().__call__(environ, start_response)
        start_response(self.status, [*self.headers])
        return self.response  # type: ignore[return-value]
