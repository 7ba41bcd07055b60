"""Half-sent requests through the front, which forwards a request only when it is complete."""

from __future__ import annotations

import time
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from support.slow_clients import HALF_SENT, slow_clients
from support.stack import Stack

pytestmark = [pytest.mark.compose, pytest.mark.long]

CLIENTS = 500
SECONDS = 20.0


@pytest.mark.parametrize("kind", ["nothing", "half a header", "half a body"])
def test_every_service_responds_beside_slow_clients(containers: Stack, kind: str) -> None:
    with ExitStack() as opened:
        for url in (containers.auth, containers.api, containers.client):
            opened.enter_context(slow_clients(urlsplit(url).port or 80, CLIENTS, HALF_SENT[kind]))
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                assert containers.get(f"{url}/healthz")[0] == 200
                time.sleep(0.5)
