"""The gunicorn configuration of services in the lab: starts the lab's threads in each worker, and stops them."""

from __future__ import annotations

from typing import Any

from rolecall.gunicorn_conf import *  # noqa: F403


def post_worker_init(worker: Any) -> None:  # type: ignore[no-redef]
    """Start to follow the lab's clock before the first request.

    This cannot happen earlier, because threads do not survive a fork. It replaces the hook of the production
    configuration, because the lab does not run the periodic tasks that this hook starts.
    """
    if lab := _lab(worker):
        lab.start()


def worker_exit(_server: Any, worker: Any) -> None:
    """Write the queued events before the worker ends."""
    if lab := _lab(worker):
        lab.stop()


def _lab(worker: Any) -> Any:
    """Return the lab's layer of the worker's application; None if the worker did not load the application."""
    return getattr(getattr(worker, "wsgi", None), "extensions", {}).get("rolecall_lab")
