"""The services of the lab, without a proxy, while one address keeps half-sent requests open for a minute."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support.slow_clients import HALF_SENT, is_closed, slow_clients
from support.stack import Stack, running_stack, wait_until
from support.tally_pages import tokens_of_a_native_client

pytestmark = [pytest.mark.long, pytest.mark.embedded]

MINUTE = 60.0
CLIENTS = 64
CLIENTS_OF_THE_OBSERVER = 500
"""More connections than the observer has threads."""


@pytest.fixture(scope="module")
def patient_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Return a lab with a long deadline, so that no thread becomes free because the deadline closes a connection."""
    with running_stack(tmp_path_factory.mktemp("slow"), REQUEST_DEADLINE="3600") as running:
        yield running


def half_sent(stack: Stack, kind: str, opened: ExitStack) -> None:
    for url in (stack.auth, stack.api, stack.client, stack.observer):
        number = CLIENTS_OF_THE_OBSERVER if url == stack.observer else CLIENTS
        opened.enter_context(slow_clients(urlsplit(url).port or 80, number, HALF_SENT[kind]))


@pytest.mark.parametrize("kind", ["half a header", "half a body"])
def test_every_service_responds_beside_slow_clients(patient_stack: Stack, kind: str) -> None:
    stack = patient_stack
    authorization = {"Authorization": f"Bearer {tokens_of_a_native_client(stack)['access_token']}"}
    with ExitStack() as opened:
        half_sent(stack, kind, opened)
        slowest, end = 0.0, time.monotonic() + MINUTE
        while time.monotonic() < end:
            for method, url, body, headers, status in (
                ("GET", f"{stack.client}/healthz", None, {}, 200),
                ("GET", f"{stack.observer}/healthz", None, {}, 200),
                ("GET", f"{stack.auth}/healthz", None, {}, 200),
                ("POST", f"{stack.auth}/token", b"grant_type=unknown", {}, 400),
                ("GET", f"{stack.api}/healthz", None, {}, 200),
                ("GET", f"{stack.api}/invoices", None, authorization, 200),
            ):
                began = time.monotonic()
                assert stack.call(method, url, body, **headers)[0] == status, url
                slowest = max(slowest, time.monotonic() - began)
            time.sleep(0.5)
    assert slowest < 5


def test_every_service_closes_incomplete_requests(tmp_path: Path) -> None:
    with running_stack(tmp_path, REQUEST_DEADLINE="2") as stack:
        for url in (stack.auth, stack.api, stack.client, stack.observer):
            for kind in ("half a header", "half a body"):
                with slow_clients(urlsplit(url).port or 80, CLIENTS, HALF_SENT[kind]) as clients:
                    wait_until(lambda clients=clients: all(map(is_closed, clients)))  # type: ignore[misc]
