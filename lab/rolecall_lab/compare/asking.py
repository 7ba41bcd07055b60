"""Call the Invoices API with Tally's token, once per validation method, and collect everything about the responses."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from rolecall import clock
from rolecall.http import Unreachable
from rolecall_client.services import services
from rolecall_lab.compare.report import objects, report

WAYS: Final = {"introspection": "Introspection", "jwt": "Local validation"}
"""The API's validation methods: the value of the request header, and the title on the page."""

_ERROR: Final = re.compile(r'error="([a-z_]{1,40})"')


@dataclass(slots=True)
class Probe:
    """A request to the API with one validation method, and its response.

    Args:
        way: the validation method.
        began: when the request was sent, in seconds of real time.
        ended: when the response arrived, in seconds of real time.
        at: when the response arrived, in seconds of the lab's clock.
        status: 0 if the API did not respond.
        error: the error code of the response.
        description: the response's `error_description`.
        milliseconds: the duration as Tally measured it.
        spent: the duration as the API measured it.
        calls: the API's calls to other services.
        checks: the API's checks.
    """

    way: str
    began: float
    ended: float
    at: float
    status: int
    error: str
    description: str
    milliseconds: float
    spent: float | None = None
    calls: list[dict[str, Any]] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)

    @property
    def accepted(self) -> bool:
        """Whether the API accepted the token."""
        return self.status == 200

    @property
    def response(self) -> str:
        """The status and the error code in one line."""
        return f"{self.status or ''} {self.error}".strip()


def real_time() -> float:
    """Return the seconds since the epoch without the offset of the lab's clock."""
    return clock.now() - clock.offset()


def probe_both(tokens: dict[str, Any]) -> list[Probe]:
    """Send the same token with one validation method after the other.

    Raises:
        Unreachable: Tally has not fetched the authorization server's metadata yet and cannot fetch it now.
    """
    return [_probe(tokens, way) for way in WAYS]


def _probe(tokens: dict[str, Any], way: str) -> Probe:
    began = real_time()
    try:
        response = services().runner.run("ask", tokens, validator=way).memory
    except Unreachable as error:
        settings = services().settings
        if not error.url.startswith(settings.resource_backchannel_url or settings.resource_url):
            raise
        return Probe(way, began, real_time(), clock.now(), 0, "no answer", error.reason, 0.0)
    reported = report(response)
    return Probe(
        way,
        began,
        real_time(),
        clock.now(),
        status=response["status"],
        error=_error(response),
        description=str(response["body"].get("error_description", ""))[:200],
        milliseconds=response["milliseconds"],
        spent=reported.get("milliseconds"),
        calls=objects(reported.get("calls")),
        checks=objects(reported.get("checks")),
    )


def _error(response: dict[str, Any]) -> str:
    """Return the error code from the challenge (RFC 6750 section 3.1) or from the body."""
    match = _ERROR.search(response["challenge"])
    return match[1] if match else str(response["body"].get("error", ""))[:60]
