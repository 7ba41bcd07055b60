"""Explanations of the parts of a message, read from `explanations/`: meaning, requirement, and purpose."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

FOLDER: Final = Path(__file__).with_name("explanations")
PLACES: Final = frozenset({"parameter", "header", "jose", "claim", "member", "error", "status", "check", "change"})
_DECLARED_ELSEWHERE: Final = frozenset({"check"})
"""Places whose clause is in the recorded event: entries only have a name and a meaning."""

_URLS: Final[dict[str, str]] = {
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
    """An entry of a file.

    Args:
        name: the name; `*` stands for any characters.
        means: its meaning in one or two sentences.
        required_by: whether it is required, or which of these services use it if it is not part of a specification.
        breaks: what goes wrong if it is missing or wrong; empty if nothing does.
        rfc: the section that defines it. A check has none: its clause is declared by the service and recorded.
        only: the start of the paths that the entry applies to; empty for all paths.
    """

    name: str
    means: str
    required_by: str = ""
    breaks: str = ""
    rfc: str = ""
    only: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """The URL of the section, or an empty string if it is not part of a specification."""
        return link(self.rfc)


def explain(place: str, name: object, path: str = "") -> Explanation | None:
    """Return the explanation of a name in a message to `path`, or None.

    Args:
        place: one of `PLACES`.
        name: anything except a string has no explanation.
    """
    if not isinstance(name, str):
        return None
    exact, patterns = entries()
    candidates = [
        *exact.get((place, name), ()),
        *(entry for entry in patterns.get(place, ()) if fnmatchcase(name, entry.name)),
    ]
    applicable = [entry for entry in candidates if not entry.only or path.startswith(entry.only)]
    # An entry for this path is more specific than one for all paths.
    return next((entry for entry in applicable if entry.only), applicable[0] if applicable else None)


def explain_check(check: Mapping[str, Any]) -> Explanation | None:
    """Return the entry for a recorded check, or the description that the check declares."""
    declared = check.get("description")
    own = Explanation(str(check["name"]), declared) if isinstance(declared, str) and declared else None
    return explain("check", check["name"]) or own


def link(rfc: str) -> str:
    """Return the URL of a reference such as `RFC 7636 section 4.3`; of two sections, that of the first."""
    if match := re.fullmatch(r"RFC (\d+)(?: sections? ([0-9.]+)(?: and [0-9.]+)?| appendix (\S+))?", rfc):
        anchor = f"#section-{match[2]}" if match[2] else f"#appendix-{match[3]}" if match[3] else ""
        return f"https://www.rfc-editor.org/rfc/rfc{match[1]}{anchor}"
    name, _, section = rfc.partition(" section ")
    url = _URLS.get(name, "")
    return f"{url}#rfc.section.{section}" if section and "openid.net" in url else url


def change_name(change: dict[str, Any]) -> str:
    """Return the name of a change for explanations: `code taken` for the key `auth:code:ab12…` and `taken`."""
    *kinds, _ = ["", *str(change.get("key", "")).split(":")]
    return f"{kinds[-1]} {change.get('change', '')}"


@cache
def entries() -> tuple[dict[tuple[str, str], list[Explanation]], dict[str, list[Explanation]]]:
    """Return all entries: those with an exact name, by place and name, and those with a pattern, by place.

    Raises:
        ValueError: an entry is invalid; the message names it.
    """
    exact: dict[tuple[str, str], list[Explanation]] = {}
    patterns: dict[str, list[Explanation]] = {}
    seen = set()
    for file, place, row in _rows():
        entry = _entry(f"{file}: {place} {row.get('name')}", place, row)
        if (place, entry.name, entry.only) in seen:
            raise ValueError(f"{file}: {place} {entry.name} is listed twice")
        seen.add((place, entry.name, entry.only))
        if "*" in entry.name:
            patterns.setdefault(place, []).append(entry)
        else:
            exact.setdefault((place, entry.name), []).append(entry)
    return exact, patterns


def _rows() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the file, place, and row of each entry."""
    for path in sorted(FOLDER.glob("*.yaml")):
        document = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
        if unknown := document.keys() - PLACES:
            raise ValueError(
                f"{path.name}: unknown place {', '.join(unknown)}; expected one of {', '.join(sorted(PLACES))}"
            )
        yield from ((path.name, place, row) for place, rows in document.items() for row in rows)


def _entry(where: str, place: str, row: dict[str, Any]) -> Explanation:
    try:
        entry = Explanation(**{**row, "only": tuple(row.get("only", ()))})
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from None
    for field, text in row.items():
        if field in {"required_by", "breaks", "rfc"} and place in _DECLARED_ELSEWHERE:
            raise ValueError(f"{where}: {field} is not allowed, as the check declares its clause")
        if field != "only" and not isinstance(text, str):
            raise ValueError(f"{where}: {field} must be a string")
    if not (entry.name and entry.means):
        raise ValueError(f"{where}: name and means must not be empty")
    if not all(isinstance(path, str) and path.startswith("/") for path in entry.only):
        raise ValueError(f"{where}: only must be a list of paths")
    return entry
