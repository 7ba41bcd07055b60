"""Gunicorn settings of the observer: one process, with a thread for each long-lived connection."""

from __future__ import annotations

from typing import Any

from rolecall.gunicorn_conf import *  # noqa: F403
from rolecall_lab.observer.live import MAX_VIEWERS

workers = 1
"""The observer keeps everything in its memory."""

threads = MAX_VIEWERS + 32
worker_connections = 2 * threads
graceful_timeout = 1
"""Seconds. Viewers reconnect on their own."""


def post_worker_init(worker: Any) -> None:  # type: ignore[no-redef]
    """Start the reading thread after the fork, because threads do not survive a fork."""
    worker.wsgi.extensions["observer"].tail.start()


def worker_exit(_server: Any, worker: Any) -> None:
    """Stop the reading thread."""
    worker.wsgi.extensions["observer"].tail.stop()
