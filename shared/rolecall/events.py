"""Notes about what happens while a request is handled, for a watcher such as the lab's recorder.

A watcher opens a notebook for an exchange. Checks, state changes, and messages that the service sends are written into
it. Production runs without a watcher, and a note then costs a single lookup.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Notebook:
    """The notes about one exchange: dicts with at least the key `kind` (check, state, identity, or sent).

    `after` of a check is the number of messages that the service had sent before it made the check.
    """

    notes: list[dict[str, Any]] = field(default_factory=list)
    sent: int = 0
    on_sent: Callable[[dict[str, Any]], None] | None = None


_notebook: ContextVar[Notebook | None] = ContextVar("rolecall_notebook", default=None)


@contextmanager
def watching(notebook: Notebook) -> Iterator[Notebook]:
    """Collect the notes of the code inside the block in `notebook`."""
    token = _notebook.set(notebook)
    try:
        yield notebook
    finally:
        _notebook.reset(token)


def is_watched() -> bool:
    """Return whether there is a watcher."""
    return _notebook.get() is not None


def note(kind: str, **facts: Any) -> None:
    """Write a note of `kind` if there is a watcher.

    Args:
        kind: `check`, `state`, or `identity`, whose `value` is a client ID or username that the service knows.
    """
    notebook = _notebook.get()
    if notebook is not None:
        position = {"after": notebook.sent} if kind == "check" else {}
        notebook.notes.append({"kind": kind, **facts, **position})


def sent(message: dict[str, Any]) -> None:
    """Report an HTTP message that this service sent, with its response or failure, to the watcher, if any."""
    notebook = _notebook.get()
    if notebook is not None:
        notebook.notes.append({"kind": "sent", **message})
        notebook.sent += 1
        if notebook.on_sent is not None:
            notebook.on_sent(message)
