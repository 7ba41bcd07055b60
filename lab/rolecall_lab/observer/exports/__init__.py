"""The export formats of a flow, one module each. (SVG is in svg.py.)"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from rolecall_lab.observer.exports import curl, har, json_events, mermaid
from rolecall_lab.recording import marks
from rolecall_lab.recording.recorded_flow import Loss
from rolecall_lab.recording.rules import MIN_SECRET

MAX_SECRETS: Final = 2000
"""Different secrets in a flow that is exported without its secrets."""

_EXTERNAL_MEMBERS: Final = (
    "host", "base", "path", "query", "form", "json", "request_headers", "response_headers", "body", "failure",
    "changes",
)  # fmt: skip
"""The members of an event whose content comes from a message. All others have the recorder's own words."""


@dataclass(frozen=True, slots=True)
class Export:
    """A format in which a flow can be exported.

    Args:
        write: returns the text of the file. Its arguments are the events, whose marks it writes unchanged, the losses,
            and the number of dropped events with the ID of the first event after them.
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
        """Return the text of the file. Unless `secrets` is true, codes and tokens are shortened.

        Raises:
            ValueError: the flow has more than `MAX_SECRETS` secrets to shorten.
        """
        return self.write(events if secrets else masked(events), [*losses], omitted)


def masked(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return copies of the events in which all codes and tokens are shortened, in marks and in any other text.

    The recorder looks for a secret only in the exchange in which it was marked, but a later exchange may repeat it.

    Raises:
        ValueError: there are more than `MAX_SECRETS` secrets.
    """
    secrets = dict(_secrets(events))
    if len(secrets) > MAX_SECRETS:
        raise ValueError("The flow has too many different secrets to mask")
    copies: list[dict[str, Any]] = marks.masked(events)
    text = json.dumps(copies)
    remaining = (secret for secret in secrets if json.dumps(secret)[1:-1] in text)
    # Replace the longest first: replacing a secret within another one would leave the rest of that one in the text.
    replacements = {secret: secrets[secret] for secret in sorted(remaining, key=len, reverse=True)}
    if not replacements:
        return copies
    return [
        {
            **event,
            **{name: _replace(event[name], replacements) for name in _EXTERNAL_MEMBERS if name in event},
            "checks": [
                {
                    **check,
                    **{name: _replace(check[name], replacements) for name in ("expected", "actual") if name in check},
                }
                for check in event["checks"]
            ],
        }
        for event in copies
    ]


def _secrets(value: Any) -> Iterator[tuple[str, str]]:
    """Yield each secret in a mark with its shortened form, and the signature of each JWT."""
    if isinstance(value, dict):
        secret, shortened = value.get("value"), value.get("shown")
        if isinstance(secret, str) and isinstance(shortened, str) and "hash" in value:
            parts = [secret, secret.rpartition(".")[2]] if "unverified_claims" in value else [secret]
            yield from ((part, shortened) for part in parts if len(part) >= MIN_SECRET)
    for member in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _secrets(member)


def _replace(value: Any, replacements: dict[str, str]) -> Any:
    if isinstance(value, str):
        for secret, shortened in replacements.items():
            value = value.replace(secret, shortened)
        return value
    if isinstance(value, dict):
        return {_replace(key, replacements): _replace(member, replacements) for key, member in value.items()}
    return [_replace(item, replacements) for item in value] if isinstance(value, list) else value


EXPORTS: Final[dict[str, Export]] = {
    "mermaid": Export("Mermaid sequence diagram", "text/plain", "mmd", mermaid.write),
    "har": Export("HAR 1.2", "application/json", "har", har.write),
    "json": Export("JSON events", "application/json", "json", json_events.write),
    "curl": Export("Shell script of curl commands", "text/x-shellscript", "sh", curl.write),
}
