"""A few requests of the hostile corpus against the running services; `make fuzz` sends many."""

from __future__ import annotations

import urllib.parse
from random import Random

import pytest

from rolecall_auth.parameters import BY_ENDPOINT
from support.fuzz.attack import Attack
from support.fuzz.party import register
from support.fuzz.targets import ROUTES
from support.fuzz.traffic import Traffic
from support.fuzz.visitor import Visitor
from support.stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.embedded]


def test_each_parameter_is_sent_where_it_belongs(stack: Stack) -> None:
    """A parameter that is never sent would not be tested (RFC 6749 sections 3.1 and 3.2)."""
    visitor = Visitor.arrive(stack, register(stack))
    traffic = Traffic(visitor)
    missing = {(endpoint, parameter.name) for endpoint, each in BY_ENDPOINT.items() for parameter in each}
    assert {name for _, name in missing} <= visitor.known.keys()
    routes = [route for route in ROUTES["auth-service"] if route.name in BY_ENDPOINT]
    for number in range(2000):
        request = traffic.request(Random(number), "auth-service", routes[number % len(routes)], "localhost")
        sent = urllib.parse.parse_qsl((request.body or b"").decode()) + [
            (name.decode(), "") for name, _ in request.pairs
        ]
        missing -= {(routes[number % len(routes)].name, name) for name, _ in sent}
        if not missing:
            break
    assert not missing


def test_hostile_requests_find_nothing(stack: Stack) -> None:
    """No 5xx, late response, reflected markup, or trusted forged host (RFC 9110, RFC 9112, RFC 6749 section 10)."""
    report = Attack(stack, 200, "the same each time", lambda _: None).run()
    assert not report.findings, "\n".join(map(str, report.findings))
    assert sum(report.tried.values()) == 200
