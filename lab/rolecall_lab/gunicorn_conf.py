"""Gunicorn with the lab: its threads begin with each worker, and what was recorded is written before it ends."""

from __future__ import annotations

from typing import Any

from rolecall.gunicorn_conf import *  # noqa: F403


def post_worker_init(worker: Any) -> None:  # type: ignore[no-redef]
    """Follow the lab's clock before the first request comes; threads do not survive a fork, so not earlier.

    In the place of what production does here: the lab does nothing by itself.
    """
    if lab := _lab(worker):
        lab.start()


def worker_exit(_server: Any, worker: Any) -> None:
    """Write what still waits."""
    if lab := _lab(worker):
        lab.stop()


def _lab(worker: Any) -> Any:
    """The lab's layer of the worker's application; None when the worker never had one."""
    return getattr(getattr(worker, "wsgi", None), "extensions", {}).get("rolecall_lab")
