"""Work that a service does by itself from time to time, in a thread of each worker."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass

from flask import Flask

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Periodic:
    """`work` is done every so many `seconds`, by every worker: it finds out itself whether it is its turn."""

    name: str
    seconds: float
    work: Callable[[], None]


def start(app: Flask) -> None:
    """Begin with the work in `app.extensions["rolecall_periodic"]`; not before the fork, which no thread survives."""
    for each in app.extensions.get("rolecall_periodic", ()):
        threading.Thread(target=_run, args=(each,), name=each.name, daemon=True).start()


def _run(each: Periodic) -> None:
    waiting = threading.Event()  # nobody sets it
    # workers that were started together do not work together
    waiting.wait(each.seconds * random.uniform(0.05, 0.2))  # noqa: S311
    while True:
        try:
            each.work()
        except Exception as error:  # it is tried again, and must not end the thread
            log.warning(
                "periodic work failed", extra={"work": each.name, "detail": f"{type(error).__name__}: {error}"[:300]}
            )
        waiting.wait(each.seconds)
