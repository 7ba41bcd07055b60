"""Gunicorn for the observer: one process, and a thread for each of many long connections."""

from __future__ import annotations

from typing import Any

from rolecall.gunicorn_conf import *  # noqa: F403
from rolecall_lab.observer.live import MOST_VIEWERS

worker_class = "gthread"
"""A thread for each connection, however long: who looks on holds one. The services' own class only adds what a front
needs while a replica stops, and here there is neither."""

workers = 1
"""All that it knows is in its memory."""

threads = MOST_VIEWERS + 32
worker_connections = 2 * threads
graceful_timeout = 1
"""Seconds; who looks on connects again by itself."""


def post_worker_init(worker: Any) -> None:  # type: ignore[no-redef]
    """Begin to read; threads do not survive a fork, so not earlier."""
    worker.wsgi.extensions["observer"].tail.start()


def worker_exit(_server: Any, worker: Any) -> None:
    """Stop reading."""
    worker.wsgi.extensions["observer"].tail.stop()
