"""Several containers of one service behave as one: they share sessions, codes, the clock, and the keys."""

from __future__ import annotations

import json

import pytest

from rolecall_lab.walker import Walker, connect
from support.containers import docker, names, rotated
from support.stack import Stack, wait_until
from support.tally_pages import press, statuses

pytestmark = [pytest.mark.compose, pytest.mark.replicas]

READ = "import sys, urllib.request; print(urllib.request.urlopen('http://127.0.0.1:8001/jwks').read().decode())"


def kids(name: str) -> set[str]:
    """Return the key IDs that one container publishes, from enough requests to reach each of its workers."""
    sets = {docker("exec", name, "python", "-c", READ) for _ in range(3)}
    return {key["kid"] for text in sets for key in json.loads(text)["keys"]}


def test_every_replica_takes_part(containers: Stack) -> None:
    before = {name: docker("logs", name).count("\n") for name in names("auth-service")}
    walker = Walker()
    connect(walker, containers.client, "alice", "wonderland-lab")
    for _ in range(30):
        assert statuses(walker.open(f"{containers.client}/invoices?check=introspection")) == ["200"]
        assert walker.open(f"{containers.auth}/apps").status == 200
    for name, lines in before.items():
        assert docker("logs", name).count("\n") > lines, f"{name} got nothing to do"


def test_keys_rotate_in_all_replicas_and_no_token_is_refused(containers: Stack) -> None:
    """All publish a key at the same time; it signs once every cached key set must have it (RFC 9068 section 4)."""
    walker = Walker()
    page = connect(walker, containers.client, "bob", "builder-lab")
    try:
        new = rotated(containers)
        page = press(walker, page, containers, "/refresh")
        for name in names("auth-service"):
            wait_until(lambda name=name: new <= kids(name))
        for _ in range(3):
            page = press(walker, page, containers, "/refresh")
            assert statuses(walker.open(f"{containers.client}/invoices?check=both")) == ["200", "200"]
        containers.call("PUT", f"{containers.auth}/_lab/clock", b'{"advance": 302}')
        for _ in range(8):
            page = press(walker, page, containers, "/refresh")
            assert statuses(walker.open(f"{containers.client}/invoices?check=both")) == ["200", "200"]
    finally:
        containers.call("DELETE", f"{containers.auth}/_lab/clock", None)
