"""Calls that begin at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any


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
