"""What people take away of a flow: one file each, one line here. (The drawing itself is in svg.py.)"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from rolecall_lab.observer.exports import curl, har, json_events, mermaid
from rolecall_lab.redaction import masked


@dataclass(frozen=True, slots=True)
class Export:
    """A form of a flow's events.

    Args:
        write: gives the file's text for events, of which it takes every mark as it is.
    """

    title: str
    media_type: str
    extension: str
    write: Callable[[list[dict[str, Any]]], str]

    def make(self, events: list[dict[str, Any]], *, secrets: bool) -> str:
        """The file; without `secrets` no code and no token is in it whole."""
        return self.write(events if secrets else masked(events))


EXPORTS: Final[dict[str, Export]] = {
    "mermaid": Export("Mermaid sequence diagram", "text/plain", "mmd", mermaid.write),
    "har": Export("HAR 1.2", "application/json", "har", har.write),
    "json": Export("JSON events", "application/json", "json", json_events.write),
    "curl": Export("Shell script of curl commands", "text/x-shellscript", "sh", curl.write),
}
