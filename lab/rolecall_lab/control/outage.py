"""While the lab says so, the authorization server answers everything with 503 (RFC 9110 section 15.6.4)."""

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
"""Seconds of real time after which it answers again by itself, whatever the lab's clock says."""

_PATIENCE: Final = 1.0
_RETRY_AFTER: Final = 0.2
_POLL: Final = 0.2
"""Seconds after which the thread looks whether it is to end."""


def stop_answering(client: redis.Redis) -> None:
    """From now on, in every worker, for `LONGEST` seconds at most.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    # here the end is Redis's to judge: it must come in real time, and the services' clock can be turned
    client.set(KEY, b"1", ex=LONGEST)
    client.publish(CHANNEL, b"")


def answer_again(client: redis.Redis) -> None:
    """At once, in every worker.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    client.delete(KEY)
    client.publish(CHANNEL, b"")


def seconds_left(client: redis.Redis) -> float:
    """Until it answers again by itself; 0.0 when it answers.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    return max(0, client.pttl(KEY)) / 1000


class Away:
    """A WSGI layer around the authorization server's application; a daemon thread a process hears when to be silent."""

    def __init__(self, app: WSGIApplication, redis_url: str) -> None:
        self._app = app
        self._redis_url = redis_url
        self._lock = threading.Lock()
        self._pid = 0
        self._until = float("-inf")
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def stop(self) -> None:
        """Listen no longer, and answer."""
        self._ending.set()
        if self._thread is not None and self._pid == os.getpid():
            self._thread.join(_PATIENCE)
        self._until = float("-inf")

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Pass a request on, or answer that nobody is here."""
        self._start()
        left = self._until - clock.monotonic()
        if left <= 0:
            return self._app(environ, start_response)
        text = b"The lab told this server to stop answering. It goes on by itself within a minute.\n"
        headers = [
            ("Content-Type", "text/plain"),
            ("Content-Length", str(len(text))),
            ("Cache-Control", "no-store"),
            ("Retry-After", str(math.ceil(left))),
        ]
        start_response("503 Service Unavailable", headers)
        return [text]

    def _start(self) -> None:
        """Begin to listen, once a process, and wait until it is known how things stand, or that Redis is away."""
        if self._pid == os.getpid():
            return
        with self._lock:
            if self._pid == os.getpid():
                return
            tried = threading.Event()
            self._thread = threading.Thread(target=self._run, args=(tried,), name="lab-away", daemon=True)
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
                        # also the answer to `subscribe` is a message: what was said before was missed
                        if messages.get_message(timeout=_POLL) is not None:
                            self._until = clock.monotonic() + seconds_left(client)
                            tried.set()
            except (redis.RedisError, OSError):
                tried.set()
                self._ending.wait(_RETRY_AFTER)
        client.close()
