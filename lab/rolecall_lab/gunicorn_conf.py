"""Gunicorn's hooks for the lab: its threads begin with each worker, and what was recorded is written before it ends."""

from __future__ import annotations

from typing import Any

# gunicorn's own lines go through the service's handler, which writes JSON
logconfig_dict: dict[str, Any] = {
    "root": {"level": "INFO", "handlers": []},
    "loggers": {"gunicorn.error": {"level": "INFO", "handlers": [], "propagate": True}},
}


def post_worker_init(worker: Any) -> None:
    """Follow the lab's clock before the first request comes; threads do not survive a fork, so not earlier."""
    if lab := _lab(worker):
        lab.start()


def worker_exit(_server: Any, worker: Any) -> None:
    """Write what still waits."""
    if lab := _lab(worker):
        lab.stop()


def _lab(worker: Any) -> Any:
    """The lab's layer of the worker's application; None when the worker never had one."""
    return getattr(getattr(worker, "wsgi", None), "extensions", {}).get("rolecall_lab")
