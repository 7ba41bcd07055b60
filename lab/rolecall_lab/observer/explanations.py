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

from rolecall_lab.observer.texts import is_text

FILE: Final = Path(__file__).with_name("explanations.yaml")
PLACES: Final = frozenset({"parameter", "header", "jose", "claim", "member", "error", "status", "check", "change"})
_MAY_BREAK_NOTHING: Final = frozenset({"status", "check", "change"})

_ELSEWHERE: Final[dict[str, str]] = {
    "JARM": "https://openid.net/specs/oauth-v2-jarm-final.html",
    "OAuth 2.0 Form Post Response Mode": "https://openid.net/specs/oauth-v2-form-post-response-mode-1_0.html",
    "OpenID Connect Back-Channel Logout": "https://openid.net/specs/openid-connect-backchannel-1_0.html",
    "OpenID Connect Core": "https://openid.net/specs/openid-connect-core-1_0.html",
    "OpenID Connect Front-Channel Logout": "https://openid.net/specs/openid-connect-frontchannel-1_0.html",
    "OpenID Connect Discovery": "https://openid.net/specs/openid-connect-discovery-1_0.html",
    "OpenID Connect Registration": "https://openid.net/specs/openid-connect-registration-1_0.html",
    "OpenID Connect RP-Initiated Logout": "https://openid.net/specs/openid-connect-rpinitiated-1_0.html",
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


def explain(place: str, name: object, path: str = "") -> Explanation | None:
    """What is known of a name at a place (one of `PLACES`) of a message to `path`; of what is no text, nothing."""
    if not isinstance(name, str):
        return None
    exact, patterns = entries()
    named = exact.get((place, name), ())
    alike = [each for each in patterns.get(place, ()) if fnmatchcase(name, each.name)]
    fitting = [each for each in (*named, *alike) if not each.only or path.startswith(each.only)]
    # what holds only here says more than what holds everywhere
    return next((each for each in fitting if each.only), fitting[0] if fitting else None)


def link(rfc: str) -> str:
    """The address of `RFC 7636 section 4.3` and the like."""
    if match := re.fullmatch(r"RFC (\d+)(?: section ([0-9.]+)| appendix (\S+))?", rfc):
        anchor = f"#section-{match[2]}" if match[2] else f"#appendix-{match[3]}" if match[3] else ""
        return f"https://www.rfc-editor.org/rfc/rfc{match[1]}{anchor}"
    name, _, section = rfc.partition(" section ")
    address = _ELSEWHERE.get(name, "")
    return f"{address}#rfc.section.{section}" if section and "openid.net" in address else address


def change_name(change: dict[str, Any]) -> str:
    """What a change of state is called here: `code taken` for the key `auth:code:ab12…` and the change `taken`."""
    *kinds, _ = ["", *str(change.get("key", "")).split(":")]
    return f"{kinds[-1]} {change.get('change', '')}"


def unexplained(events: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    """What messages carry and nothing is known of: place, name and path."""
    return {found for event in events for found in _of(event) if explain(*found) is None}


def _of(event: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    path = event["path"]
    for name in (*event["query"], *event["form"]):
        yield "parameter", name, path
    for name in _members(event.get("json")):
        yield "member", name, path
    for name in (*event["request_headers"], *event["response_headers"]):
        yield "header", name, path
    if event["status"] is not None:
        yield "status", str(event["status"]), path
    location = event["response_headers"].get("location")
    answer = location.get("parameters", {}) if isinstance(location, dict) else {}
    for name in answer:
        yield "parameter", name, path
    body = event["body"] if isinstance(event["body"], dict) else {}
    for name in _members(body):
        yield "member", name, path
    challenged = re.findall(r'\berror="([^"]*)"', str(event["response_headers"].get("www-authenticate", "")))
    for error in (
        *challenged,
        *(each["error"] for each in (event["query"], event["form"], answer, body) if "error" in each),
    ):
        yield "error", str(error), path
    for check in event["checks"]:
        yield "check", check["name"], path
    for change in event["changes"]:
        yield "change", change_name(change), path
    carried = ("query", "form", "json", "request_headers", "response_headers", "body")
    yield from _of_tokens([event.get(part) for part in carried])


def _members(value: Any) -> Iterator[str]:
    """Of JSON, within others too; what the recorder put in the place of a text has none."""
    if isinstance(value, list):
        for each in value:
            yield from _members(each)
    elif not is_text(value):
        for name, each in value.items():
            yield name
            yield from _members(each)


def _of_tokens(value: Any) -> Iterator[tuple[str, str, str]]:
    if isinstance(value, dict):
        for name in value.get("unverified_header") or ():
            yield "jose", name, ""
        for name in _members(value.get("unverified_claims")):
            yield "claim", name, ""
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
    seen = set()
    exact: dict[tuple[str, str], list[Explanation]] = {}
    patterns: dict[str, list[Explanation]] = {}
    if strange := document.keys() - PLACES:
        raise ValueError(f"{FILE.name}: there is no place {', '.join(strange)}")
    for place, rows in document.items():
        for row in rows:
            entry = _entry(place, row)
            if (place, entry.name, entry.only) in seen:
                raise ValueError(f"{FILE.name}: {place} {entry.name} stands there twice")
            seen.add((place, entry.name, entry.only))
            if "*" in entry.name:
                patterns.setdefault(place, []).append(entry)
            else:
                exact.setdefault((place, entry.name), []).append(entry)
    return exact, patterns


def _entry(place: str, row: dict[str, Any]) -> Explanation:
    try:
        entry = Explanation(**{**row, "only": tuple(row.get("only", ()))})
    except TypeError as error:
        raise ValueError(f"{FILE.name}: {place} {row.get('name')}: {error}") from None
    texts = {field: getattr(entry, field) for field in ("name", "means", "required_by", "breaks", "rfc")}
    for field, text in texts.items():
        if not isinstance(text, str) or (not text and not (field == "breaks" and place in _MAY_BREAK_NOTHING)):
            raise ValueError(f"{FILE.name}: {place} {entry.name}: {field} is no text")
    if not all(isinstance(each, str) and each.startswith("/") for each in entry.only):
        raise ValueError(f"{FILE.name}: {place} {entry.name}: only has what is no path")
    return entry
