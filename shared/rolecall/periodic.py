"""Work that a service repeats at intervals, in a thread of each worker."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from flask import Flask

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Periodic:
    """Work to do every `seconds` seconds in every worker; `work` itself decides whether it is this worker's turn.

    It runs in the context of the application.
    """

    name: str
    seconds: float
    work: Callable[[], object]


def start(app: Flask) -> None:
    """Start the work in `app.extensions["rolecall_periodic"]`; call it after the fork, which no thread survives."""
    for each in applications(app):
        for periodic in each.extensions.get("rolecall_periodic", ()):
            threading.Thread(target=_run, args=(each, periodic), name=periodic.name, daemon=True).start()


def applications(app: object) -> tuple[Flask, ...]:
    """Return the applications that `app` passes requests on to, or itself; none if it is not a Flask application."""
    if not isinstance(app, Flask):
        return ()
    hosted: tuple[Flask, ...] = app.extensions.get("rolecall_hosted", (app,))
    return hosted


def _run(app: Flask, periodic: Periodic) -> None:
    # a random delay, so that workers that start at the same time do not work at the same time
    time.sleep(periodic.seconds * random.uniform(0.05, 0.2))  # noqa: S311
    while True:
        try:
            with app.app_context():
                periodic.work()
        except Exception as error:  # the thread continues, and tries again at the next interval
            log.warning(
                "periodic work failed",
                extra={"work": periodic.name, "detail": f"{type(error).__name__}: {error}"[:300]},
            )
        time.sleep(periodic.seconds)
