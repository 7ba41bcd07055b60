"""Ask the Invoices API with Tally's token, one way of checking and the other, and keep all that came of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from rolecall import clock
from rolecall.http import Unreachable
from rolecall_client.services import services
from rolecall_lab.compare.report import objects, report

WAYS: Final = {"introspection": "Introspection", "jwt": "Signed token"}
"""Of checking: what the API's lab calls them, and what the page does."""

_ERROR: Final = re.compile(r'error="([a-z_]{1,40})"')


@dataclass(slots=True)
class Asked:
    """One question and its answer. `began`, `ended` in seconds of real time; `at` of the lab's clock, when it ended.

    `status` is 0 when the API did not answer. `milliseconds` as Tally saw it, `spent` as the API did.
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
        """Whether the API took the token."""
        return self.status == 200

    @property
    def answer(self) -> str:
        """Status and error code in one line."""
        return f"{self.status or ''} {self.error}".strip()


def real() -> float:
    """Seconds since the epoch, however far the lab's clock is turned."""
    return clock.now() - clock.offset()


def ask_both_ways(tokens: dict[str, Any]) -> list[Asked]:
    """The same token, one way after the other.

    Raises:
        Unreachable: Tally does not know the authorization server yet, and cannot learn of it.
    """
    return [_ask(tokens, way) for way in WAYS]


def _ask(tokens: dict[str, Any], way: str) -> Asked:
    began = real()
    try:
        answer = services().runner.run("ask", tokens, validator=way).memory
    except Unreachable as error:
        settings = services().settings
        if not error.url.startswith(settings.resource_backchannel_url or settings.resource_url):
            raise
        return Asked(way, began, real(), clock.now(), 0, "no answer", error.reason, 0.0)
    reported = report(answer)
    return Asked(
        way,
        began,
        real(),
        clock.now(),
        status=answer["status"],
        error=_error(answer),
        description=str(answer["body"].get("error_description", ""))[:200],
        milliseconds=answer["milliseconds"],
        spent=reported.get("milliseconds"),
        calls=objects(reported.get("calls")),
        checks=objects(reported.get("checks")),
    )


def _error(answer: dict[str, Any]) -> str:
    """The error's code, from the challenge (RFC 6750 section 3.1) or the body."""
    match = _ERROR.search(answer["challenge"])
    return match[1] if match else str(answer["body"].get("error", ""))[:60]
