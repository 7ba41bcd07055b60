"""What each thing in a message means, who requires it and what breaks without it: read once from explanations.yaml."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

FILE: Final = Path(__file__).with_name("explanations.yaml")
PLACES: Final = frozenset({"parameter", "header", "jose", "claim", "member", "status", "check"})

_ELSEWHERE: Final[dict[str, str]] = {
    "OpenID Connect Core": "https://openid.net/specs/openid-connect-core-1_0.html",
    "W3C Trace Context": "https://www.w3.org/TR/trace-context/",
    "W3C Fetch Metadata": "https://www.w3.org/TR/fetch-metadata/",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """An entry. `only` are the paths for which it holds; without any it holds everywhere."""

    name: str
    means: str
    required_by: str
    breaks: str
    rfc: str
    only: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """Where the text stands; empty when it is of no specification."""
        return link(self.rfc)


def explain(place: str, name: str, path: str = "") -> Explanation | None:
    """What is known of a name at a place (one of `PLACES`) of a message to `path`."""
    exact, patterns = entries()
    named = exact.get((place, name), ())
    alike = (each for each in patterns.get(place, ()) if fnmatchcase(name, each.name))
    return next((each for each in (*named, *alike) if not each.only or path.startswith(each.only)), None)


def link(rfc: str) -> str:
    """The address of `RFC 7636 section 4.3` and the like."""
    if match := re.fullmatch(r"RFC (\d+)(?: section ([0-9.]+)| appendix (\S+))?", rfc):
        anchor = f"#section-{match[2]}" if match[2] else f"#appendix-{match[3]}" if match[3] else ""
        return f"https://www.rfc-editor.org/rfc/rfc{match[1]}{anchor}"
    return _ELSEWHERE.get(rfc.partition(" section ")[0], "")


def unexplained(events: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    """What messages carry and nothing is known of: place, name and path."""
    return {found for event in events for found in _of(event) if explain(*found) is None}


def _of(event: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    path = event["path"]
    for name in (*event["query"], *event["form"]):
        yield "parameter", name, path
    for name in (*event["request_headers"], *event["response_headers"]):
        yield "header", name, path
    location = event["response_headers"].get("location")
    for name in location.get("parameters", ()) if isinstance(location, dict) else ():
        yield "parameter", name, path
    for name in event["body"] if isinstance(event["body"], dict) else ():
        yield "member", name, path
    for check in event["checks"]:
        yield "check", check["name"], path
    yield from _of_tokens([event[part] for part in ("query", "form", "request_headers", "response_headers", "body")])


def _of_tokens(value: Any) -> Iterator[tuple[str, str, str]]:
    if isinstance(value, dict):
        for place, member in (("jose", "unverified_header"), ("claim", "unverified_claims")):
            for name in value.get(member) or ():
                yield place, name, ""
        for each in value.values():
            yield from _of_tokens(each)
    elif isinstance(value, list):
        for each in value:
            yield from _of_tokens(each)


@cache
def entries() -> tuple[dict[tuple[str, str], list[Explanation]], dict[str, list[Explanation]]]:
    """All entries: those with a name by place and name, and those with a pattern by place.

    Raises:
        ValueError: an entry is not as it should be; the text names it.
    """
    document = YAML(typ="safe").load(FILE.read_text(encoding="utf-8"))
    exact: dict[tuple[str, str], list[Explanation]] = {}
    patterns: dict[str, list[Explanation]] = {}
    if strange := document.keys() - PLACES:
        raise ValueError(f"{FILE.name}: there is no place {', '.join(strange)}")
    for place, rows in document.items():
        for row in rows:
            try:
                entry = Explanation(**{**row, "only": tuple(row.get("only", ()))})
            except TypeError as error:
                raise ValueError(f"{FILE.name}: {place} {row.get('name')}: {error}") from None
            if "*" in entry.name:
                patterns.setdefault(place, []).append(entry)
            else:
                exact.setdefault((place, entry.name), []).append(entry)
    return exact, patterns
