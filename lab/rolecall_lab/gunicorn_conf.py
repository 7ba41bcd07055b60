"""The gunicorn configuration of services in the lab: starts the lab's threads in each worker, and stops them."""

from __future__ import annotations

from typing import Any

from rolecall import periodic
from rolecall.gunicorn_conf import *  # noqa: F403


def post_worker_init(worker: Any) -> None:  # type: ignore[no-redef]
    """Start to follow the lab's clock before the first request.

    This cannot happen earlier, because threads do not survive a fork. It replaces the hook of the production
    configuration, because the lab does not run the periodic tasks that this hook starts.
    """
    for lab in _labs(worker):
        lab.start()


def worker_exit(_server: Any, worker: Any) -> None:
    """Write the queued events before the worker ends."""
    for lab in _labs(worker):
        lab.stop()


def _labs(worker: Any) -> list[Any]:
    """Return the lab's layer of each of the worker's applications; none if the worker did not load them."""
    loaded = periodic.applications(getattr(worker, "wsgi", None))
    return [app.extensions["rolecall_lab"] for app in loaded if "rolecall_lab" in app.extensions]
