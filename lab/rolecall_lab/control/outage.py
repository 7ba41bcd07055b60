"""A simulated outage: the authorization server responds to every request with 503 (RFC 9110 section 15.6.4)."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import redis

from rolecall import clock
from rolecall.storage import connect

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

KEY: Final = "lab:away"
CHANNEL: Final = "lab:away"

LONGEST: Final = 60
"""Maximum duration of an outage, in seconds of real time, regardless of the lab's clock."""

_PATIENCE: Final = 1.0
"""Seconds to wait for Redis when a process starts, and for the thread when it ends."""

_RETRY_AFTER: Final = 0.2
_POLL: Final = 0.2
"""Seconds between the thread's checks for the end of the process."""


def begin(client: redis.Redis) -> None:
    """Begin an outage in every worker; it ends after `LONGEST` seconds at the latest.

    Raises:
        redis.RedisError: Redis does not respond.
    """
    # Redis decides when the outage ends, because that must happen in real time, and the services' clock can be changed
    client.set(KEY, b"1", ex=LONGEST)
    client.publish(CHANNEL, b"")


def end(client: redis.Redis) -> None:
    """End the outage in every worker.

    Raises:
        redis.RedisError: Redis does not respond.
    """
    client.delete(KEY)
    client.publish(CHANNEL, b"")


def seconds_left(client: redis.Redis) -> float:
    """Return the seconds until the outage ends by itself; 0.0 without an outage.

    Raises:
        redis.RedisError: Redis does not respond.
    """
    return max(0, client.pttl(KEY)) / 1000


class Outage:
    """A WSGI middleware that rejects requests during an outage.

    A daemon thread in each process subscribes to the beginning and the end of outages.
    """

    def __init__(self, app: WSGIApplication, redis_url: str) -> None:
        self._app = app
        self._redis_url = redis_url
        self._lock = threading.Lock()
        self._pid = 0
        self._until = float("-inf")
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def stop(self) -> None:
        """Stop the thread, and pass on every request."""
        self._ending.set()
        if self._thread is not None and self._pid == os.getpid():
            self._thread.join(_PATIENCE)
        self._until = float("-inf")

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Pass on the request, or respond with 503 during an outage."""
        self._start()
        left = self._until - clock.monotonic()
        if left <= 0:
            return self._app(environ, start_response)
        text = b"The lab simulates an outage of this server. It ends within a minute.\n"
        headers = [
            ("Content-Type", "text/plain"),
            ("Content-Length", str(len(text))),
            ("Cache-Control", "no-store"),
            ("Retry-After", str(math.ceil(left))),
        ]
        start_response("503 Service Unavailable", headers)
        return [text]

    def _start(self) -> None:
        """Start the thread, once per process, and wait until it has read the state from Redis or failed to."""
        if self._pid == os.getpid():
            return
        with self._lock:
            if self._pid == os.getpid():
                return
            tried = threading.Event()
            self._thread = threading.Thread(target=self._run, args=(tried,), name="lab-outage", daemon=True)
            self._thread.start()
            tried.wait(_PATIENCE)
            self._pid = os.getpid()

    def _run(self, tried: threading.Event) -> None:
        client = connect(self._redis_url)
        while not self._ending.is_set():
            try:
                with client.pubsub() as messages:  # type: ignore[no-untyped-call]
                    messages.subscribe(CHANNEL)
                    while not self._ending.is_set():
                        # the confirmation of `subscribe` is a message too; earlier messages were missed
                        if messages.get_message(timeout=_POLL) is not None:
                            self._until = clock.monotonic() + seconds_left(client)
                            tried.set()
            except (redis.RedisError, OSError):
                tried.set()
                self._ending.wait(_RETRY_AFTER)
        client.close()
