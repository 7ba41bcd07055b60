"""The exception that the control API turns into a JSON error response."""

from __future__ import annotations

from http import HTTPStatus


class Refusal(Exception):
    """A rejected request: an HTTP status, a message for the caller, and response headers."""

    def __init__(self, status: HTTPStatus, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
