"""What people take away of a flow: one file each, one line here. (The drawing itself is in svg.py.)"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from rolecall_lab.observer.exports import curl, har, json_events, mermaid
from rolecall_lab.recording import marks
from rolecall_lab.recording.recorded_flow import Loss
from rolecall_lab.recording.rules import MIN_SECRET

MOST_SECRETS: Final = 2000

_SAID: Final = (
    "host", "path", "query", "form", "json", "request_headers", "response_headers", "body", "failure", "changes",
)  # fmt: skip
"""The members of an event that hold what others said; the rest are our own words."""


@dataclass(frozen=True, slots=True)
class Export:
    """A form of a flow's events.

    Args:
        write: gives the file's text for events, of which it takes every mark as it is, and for what is missing of
            them: the losses, and how many were not kept, with the id of the first event after them.
    """

    title: str
    media_type: str
    extension: str
    write: Callable[[list[dict[str, Any]], list[Loss], tuple[int, str]], str]

    def make(
        self,
        events: list[dict[str, Any]],
        losses: Iterable[Loss] = (),
        omitted: tuple[int, str] = (0, ""),
        *,
        secrets: bool,
    ) -> str:
        """The file; without `secrets` no code and no token is in it whole."""
        return self.write(events if secrets else masked(events), [*losses], omitted)


def masked(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Copies in which no code and no token is whole: neither as a mark, nor anywhere in the text of any event.

    Raises:
        ValueError: there are too many of them.

    (The recorder looks for a secret only in the exchange that marked it; a later one may repeat it.)
    """
    shown = dict(_secrets(events))
    if len(shown) > MOST_SECRETS:
        raise ValueError("The flow carries too many different secrets to be masked")
    copies: list[dict[str, Any]] = marks.masked(events)
    text = json.dumps(copies)
    found = (whole for whole in shown if json.dumps(whole)[1:-1] in text)
    # the longest first: a part of it that is secret as well would break it up and leave the rest standing
    standing = {whole: shown[whole] for whole in sorted(found, key=len, reverse=True)}
    if not standing:
        return copies
    return [
        {
            **event,
            **{name: _wiped(event[name], standing) for name in _SAID if name in event},
            "checks": [
                {**check, **{name: _wiped(check[name], standing) for name in ("expected", "actual") if name in check}}
                for check in event["checks"]
            ],
        }
        for event in copies
    ]


def _secrets(value: Any) -> Iterator[tuple[str, str]]:
    """Every whole marked value with what is shown of it; of a JWT its signature as well."""
    if isinstance(value, dict):
        whole, shown = value.get("value"), value.get("shown")
        if isinstance(whole, str) and isinstance(shown, str) and "hash" in value:
            parts = [whole, whole.rpartition(".")[2]] if "unverified_claims" in value else [whole]
            yield from ((part, shown) for part in parts if len(part) >= MIN_SECRET)
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _secrets(each)


def _wiped(value: Any, secrets: dict[str, str]) -> Any:
    if isinstance(value, str):
        for whole, shown in secrets.items():
            value = value.replace(whole, shown)
        return value
    if isinstance(value, dict):
        return {_wiped(key, secrets): _wiped(each, secrets) for key, each in value.items()}
    return [_wiped(each, secrets) for each in value] if isinstance(value, list) else value


EXPORTS: Final[dict[str, Export]] = {
    "mermaid": Export("Mermaid sequence diagram", "text/plain", "mmd", mermaid.write),
    "har": Export("HAR 1.2", "application/json", "har", har.write),
    "json": Export("JSON events", "application/json", "json", json_events.write),
    "curl": Export("Shell script of curl commands", "text/x-shellscript", "sh", curl.write),
}
