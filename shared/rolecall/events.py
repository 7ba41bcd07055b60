"""The seam through which a request can be watched. Nobody watches in production, and then it costs one lookup.

A watcher (the lab's recorder) opens a notebook for an exchange; checks, changes of state and messages that a service
sends meanwhile are written into it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Notebook:
    """What happened inside one exchange: `notes` are dicts with at least the key `kind` (check, state, sent)."""

    notes: list[dict[str, Any]] = field(default_factory=list)
    on_sent: Callable[[dict[str, Any]], None] | None = None


_notebook: ContextVar[Notebook | None] = ContextVar("rolecall_notebook", default=None)


@contextmanager
def watching(notebook: Notebook) -> Iterator[Notebook]:
    """Collect every note of the code that runs inside the block into `notebook`."""
    token = _notebook.set(notebook)
    try:
        yield notebook
    finally:
        _notebook.reset(token)


def is_watched() -> bool:
    """True while somebody watches: ask before building a costly note."""
    return _notebook.get() is not None


def note(kind: str, **facts: Any) -> None:
    """Write a note of `kind` (check or state); nothing happens when nobody watches."""
    notebook = _notebook.get()
    if notebook is not None:
        notebook.notes.append({"kind": kind, **facts})


def sent(message: dict[str, Any]) -> None:
    """Tell the watcher of an HTTP message that this service sent, with its answer or its failure."""
    notebook = _notebook.get()
    if notebook is not None:
        notebook.notes.append({"kind": "sent", **message})
        if notebook.on_sent is not None:
            notebook.on_sent(message)
