"""A few hundred requests of the hostile corpus through the front, which forwards, changes, or rejects them."""

from __future__ import annotations

import pytest

from rolecall.web.bodies import MAX_REQUEST_BODY
from support.fuzz.attack import Attack
from support.stack import Stack

pytestmark = pytest.mark.compose


def test_hostile_requests_through_the_front_find_nothing(containers: Stack) -> None:
    """Forged X-Forwarded-*, Host and lengths (RFC 9110, RFC 9112 section 11.2, RFC 7239 section 8)."""
    report = Attack(containers, 300, "through the front", lambda _: None, threads=2).run()
    assert not report.findings, "\n".join(map(str, report.findings))
    assert sum(report.tried.values()) == 300


@pytest.mark.parametrize("size", [MAX_REQUEST_BODY + 1, 104_000, 900_000, 2_000_000])
def test_what_is_too_large_is_said_to_be(containers: Stack, size: int) -> None:
    """RFC 9110 section 15.5.14: every response is 413, and none reports an outage of the service."""
    for url in (f"{containers.auth}/token", f"{containers.client}/callback", f"{containers.api}/invoices/x/payment"):
        for _ in range(10):
            status, told = containers.call("POST", url, b"x" * size)
            assert (status, told.get("error")) == (413, "invalid_request")


def test_what_a_service_takes_comes_to_it(containers: Stack) -> None:
    status, told = containers.call("POST", f"{containers.auth}/token", b"x" * MAX_REQUEST_BODY)
    assert (status, told["error"]) == (400, "invalid_request")
