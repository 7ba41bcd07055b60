"""Why a message was refused: the failed checks or the error code, with the advice of refusals.yaml."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, TypeGuard

from ruamel.yaml import YAML

from rolecall_lab.observer.explanations import explain, link
from rolecall_lab.observer.texts import fact_text, text_of

Event = dict[str, Any]

FILE: Final = Path(__file__).with_name("refusals.yaml")

_MAX_LENGTH: Final = 300


@dataclass(frozen=True, slots=True)
class Advice:
    """Advice about a failed check or an error code: why the rule matters, and which change a developer has to make."""

    why: str
    change: str


@dataclass(frozen=True, slots=True)
class Entries:
    """The entries of the file. The name of a check may be a pattern with a `*`."""

    checks: Mapping[str, Advice]
    errors: Mapping[str, Advice]

    def for_check(self, name: str) -> Advice | None:
        """Return the advice about a check, preferably from an entry with its exact name."""
        patterns = (advice for pattern, advice in self.checks.items() if "*" in pattern and fnmatchcase(name, pattern))
        return self.checks.get(name) or next(patterns, None)


def read_entries(text: str) -> Entries:
    """Read the entries from YAML.

    Raises:
        ValueError: an entry is invalid; the message names it.
    """
    document = YAML(typ="safe").load(text)
    if not isinstance(document, dict) or document.keys() != {"checks", "errors"}:
        raise ValueError(f"{FILE.name}: expected the sections checks and errors")
    return Entries(*({name: _advice(name, row) for name, row in document[key].items()} for key in ("checks", "errors")))


def _advice(name: str, row: Any) -> Advice:
    if not isinstance(row, dict) or row.keys() != {"why", "change"}:
        raise ValueError(f"{FILE.name}: {name} must have the texts why and change, and no others")
    texts: Iterable[object] = row.values()
    if not all(isinstance(text, str) and text.endswith(".") and len(text) <= _MAX_LENGTH for text in texts):
        raise ValueError(f"{FILE.name}: the texts of {name} must be sentences of at most {_MAX_LENGTH} characters")
    return Advice(row["why"], row["change"])


ENTRIES: Final = read_entries(FILE.read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class Refusal:
    """A reason for which a message was refused.

    Args:
        reason: a sentence, or an error code.
        facts: labels with their texts and URLs; only the text of a clause can have a URL.
        change_heading: the heading above `advice.change`.
    """

    reason: str
    facts: list[tuple[str, str, str]]
    advice: Advice | None
    change_heading: str


def refusals(event: Event) -> list[Refusal]:
    """Return the failed checks of a message, or else its error code; empty if it was not refused by either."""
    failed = [_failed_check(check, event["to"]) for check in event["checks"] if not check["passed"]]
    return failed or [*_errors(event)][:1]


def heading(event: Event) -> str:
    """Return the heading above the refusals of a message."""
    if isinstance(event["body"], dict) and event["body"].get("active") is False:
        return "Why the token is not active"
    is_authorization_response = event["to"] == "client" and "error" in event["query"]
    if is_authorization_response and all(check["passed"] for check in event["checks"]):
        return "The error in this response"
    return "Why it was refused"


_CHANGE_HEADINGS: Final = {
    "authorization_server": "What to change in your client",
    "resource_server": "What to change in your client or API",
}
"""By the party that makes the check. The texts about the client's checks name the party that has to change."""

_CHALLENGE: Final = re.compile(r'\b(error|error_description)="([^"]*)"')


def _failed_check(check: Mapping[str, Any], party: str) -> Refusal:
    name, clause = str(check["name"]), str(check["clause"])
    values = ((label, check[label.lower()]) for label in ("Expected", "Actual"))
    facts = [
        ("Check", name, ""),
        *((label, fact_text(value), "") for label, value in values if value is not None),
        ("Clause", clause, link(clause)),
    ]
    heading = _CHANGE_HEADINGS.get(party, "What to change")
    return Refusal(str(check.get("description") or name), facts, ENTRIES.for_check(name), heading)


def _errors(event: Event) -> Iterator[Refusal]:
    """Yield the errors in the response, or in an authorization response that the browser takes to the client."""
    location = event["response_headers"].get("location")
    places = [
        event["body"],
        location.get("parameters") if isinstance(location, dict) else None,
        event["query"] if event["to"] == "client" else None,
        dict(_CHALLENGE.findall(str(event["response_headers"].get("www-authenticate") or ""))),
    ]
    for place in filter(_has_error, places):
        code, description = place["error"], place.get("error_description")
        explanation, advice = explain("error", code, event["path"]), ENTRIES.errors.get(code)
        facts = [("Description", text_of(description), "")] if description else []
        if explanation is not None and explanation.url:
            facts.append(("Clause", explanation.rfc, explanation.url))
        yield Refusal(code, facts, advice, _CHANGE_HEADINGS["authorization_server"])


def _has_error(place: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(place, dict) and isinstance(place.get("error"), str)
