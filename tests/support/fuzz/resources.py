"""The memory of the workers and the contents of Redis during an attack, and the limits of their growth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import psutil
import redis

from support.fuzz.report import Finding, RedisContents, Report
from support.stack import Stack

GROWTH: Final = 64 * 1024 * 1024
"""Bytes by which a worker may grow, on average, after the first measurement: the memory of one password hash."""

IN_REDIS: Final = 4096
"""Bytes by which Redis may grow per request, on average: a sign-in with its flow, until it expires."""

RECORD: Final = 16 * 1024 * 1024
"""The maximum size of the lab's recording in bytes, which does not depend on the number of requests."""

_PERSISTENT: Final = frozenset({b"auth:replays-since", b"auth:revoked-run-id"})
"""Keys of a few bytes that record since when the data in Redis is complete."""


class Resources:
    """Measurements of the workers and of Redis, which it adds to the report."""

    def __init__(self, stack: Stack, requests: int, report: Report) -> None:
        self._stack = stack
        self._requests = requests
        self._report = report

    def measure_workers(self) -> None:
        for name, pid in self._stack.pids.items():
            workers = psutil.Process(pid).children(recursive=True)
            self._report.memory.setdefault(name, []).append(
                sum(each.memory_info().rss for each in workers) / max(1, len(workers))
            )

    def measure_redis(self) -> None:
        if not self._stack.redis_url:
            return
        with redis.Redis.from_url(self._stack.redis_url) as store:
            persistent = frozenset(key for key in store.scan_iter(count=1000) if store.ttl(key) == -1)
            persistent_bytes = sum(store.memory_usage(key) or 0 for key in persistent)
            used = int(store.info("memory")["used_memory"])
            self._report.redis.append(RedisContents(store.dbsize(), persistent, persistent_bytes, used))

    def findings(self) -> Iterator[Finding]:
        for name, fault in (*self._worker_faults(), *self._redis_faults()):
            yield Finding(self._requests, name, fault)

    def _worker_faults(self) -> Iterator[tuple[str, str]]:
        for name, sizes in self._report.memory.items():
            # the smallest of three, because a worker may be hashing a password at any moment
            early, late = min(sizes[1:4], default=0.0), min(sizes[-3:])
            if len(sizes) > 6 and late - early > GROWTH:
                yield name, f"a worker grew from {early / 2**20:.0f} to {late / 2**20:.0f} MB"

    def _redis_faults(self) -> Iterator[tuple[str, str]]:
        if not self._report.redis:
            return
        before, after = self._report.redis
        if more := after.persistent - _PERSISTENT:
            yield "redis", f"{len(more)} keys never expire, such as {min(more)!r}"
        if after.persistent_bytes > IN_REDIS:
            yield "redis", f"the keys that never expire take {after.persistent_bytes} bytes"
        if after.used_bytes - before.used_bytes > RECORD + IN_REDIS * self._requests:
            yield "redis", f"grew from {before.used_bytes} to {after.used_bytes} bytes"
