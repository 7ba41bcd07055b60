"""Calls that begin at the same moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

TRIES: Final = 30
"""How often `patient` sends a request."""


def in_parallel(count: int, call: Callable[[], Any]) -> list[Any]:
    """Return the results of `count` calls; each waits until all threads are ready."""
    return race([call] * count)


def race(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Return the results of different calls, in their order; each waits until all threads are ready."""
    barrier = threading.Barrier(len(calls))

    def one(call: Callable[[], Any]) -> Any:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(one, calls))


def patient(call: Callable[[], Any]) -> Any:
    """Return the response to a request, which is sent again while it is 503, as a client would.

    On a busy machine, PostgreSQL gives up waiting for a lock before the other requests of a race have ended.
    """
    for _ in range(TRIES - 1):
        response = call()
        if response.status_code != 503:
            return response
        time.sleep(0.2)
    return call()
