"""Generate docs/specifications.md: where each clause is implemented, and which tests verify it."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import rolecall_auth.openapi.description
import rolecall_client.openapi
import rolecall_resource.openapi
from rolecall import checks
from rolecall_auth.clients.metadata import MEMBERS
from rolecall_auth.grants import GRANTS
from rolecall_auth.parameters import PARAMETERS
from rolecall_auth.routes import ROUTES as AUTH_ROUTES
from rolecall_client.flows import FLOWS
from rolecall_client.routes import ROUTES as CLIENT_ROUTES
from rolecall_resource.routes import ROUTES as RESOURCE_ROUTES

ROOT: Final = Path(__file__).parents[3]
FILE: Final = ROOT / "docs" / "specifications.md"
SERVICES: Final = ("shared/rolecall", "auth-service/rolecall_auth", "resource-service/rolecall_resource")
SERVICES_AND_CLIENT: Final = (*SERVICES, "client-webapp/rolecall_client")
_FOLDERS: Final = {path.rpartition("/")[2]: path.rpartition("/")[0] for path in SERVICES_AND_CLIENT}

TITLES: Final = {
    "RFC 6749": "The OAuth 2.0 authorization framework",
    "RFC 6750": "Bearer tokens",
    "RFC 7009": "Token revocation",
    "RFC 7523": "JWTs for client authentication",
    "RFC 7591": "Dynamic client registration",
    "RFC 7592": "Management of registrations",
    "RFC 7636": "PKCE",
    "RFC 7662": "Token introspection",
    "RFC 8252": "Native apps",
    "RFC 8414": "Authorization server metadata",
    "RFC 8707": "Resource indicators",
    "RFC 9068": "JWT access tokens",
    "RFC 9101": "Request objects",
    "RFC 9207": "Issuer identification in authorization responses",
    "RFC 9700": "Security best current practice",
    "RFC 9728": "Protected resource metadata",
    "OpenID Connect Core": "ID tokens, userinfo, claims",
    "OpenID Connect Discovery": "Provider metadata",
    "OpenID Connect Registration": "Client metadata of relying parties",
    "OAuth 2.0 Form Post Response Mode": "Authorization responses in a form",
}
"""The specifications that the product implements, in the order of the document."""

_SPECIFICATION: Final = r"RFC \d{4,5}|OpenID Connect (?:Core|Discovery|Registration)|OAuth 2\.0 Form Post Response Mode"
_SECTION: Final = r"(?:[A-D]\.?)?\d[\d.]*|[A-D]\b"
_CITED: Final = re.compile(
    rf"({_SPECIFICATION})(?:(?: (?:sections?|appendix))? ((?:{_SECTION})(?:(?:, | and | to )(?:{_SECTION}))*))?"
)

Clause = tuple[str, str]
"""A specification and a section; the section is empty for the whole specification."""


def cited(text: str) -> Iterator[Clause]:
    """Yield the clauses that a text cites: `RFC 6749 sections 3.1 and 3.2` are two."""
    for match in _CITED.finditer(" ".join(text.split())):
        sections = re.findall(_SECTION, match[2] or "")
        for section in sections or [""]:
            yield match[1], section.rstrip(".")


def places() -> dict[Clause, set[str]]:
    """Return where each clause is implemented, according to the registries and to docstrings."""
    found: dict[Clause, set[str]] = defaultdict(set)

    def enter(clause: str, module: str, what: str) -> None:
        for each in cited(clause):
            found[each].add(f"`{_path_of(module)}` ({what})")

    for route in (*AUTH_ROUTES, *RESOURCE_ROUTES, *CLIENT_ROUTES):
        enter(route.clause, route.view.__module__, f"{' '.join(route.methods)} `{route.path}`")
    for grant in GRANTS:
        enter(grant.clause, grant.engine.__module__, f"the grant {grant.grant_type}")
    for parameter in PARAMETERS:
        enter(parameter.clause, "rolecall_auth.parameters", f"the parameter {parameter.name}")
    for member in MEMBERS:
        enter(member.clause, "rolecall_auth.clients.metadata", f"the member {member.name}")
    for flow in FLOWS.values():
        enter(flow.specification, flow.steps[0].build.__module__, f"the flow {flow.name}")
    of_rows = {parameter.once for parameter in PARAMETERS}
    of_rows |= {parameter.well_formed for parameter in PARAMETERS if parameter.rejected_at}
    of_rows |= {member.check for member in MEMBERS}
    for check in checks.registry.values():
        if check not in of_rows and check.module.partition(".")[0] in _FOLDERS:
            enter(check.clause, check.module, f"the check {check.name}")
    for folder in SERVICES_AND_CLIENT:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for name, text in _docstrings(path):
                for each in cited(text):
                    found[each].add(f"`{path.relative_to(ROOT)}`{f' ({name})' if name else ''}")
    return found


def tests() -> dict[Clause, set[str]]:
    """Return the tests whose docstrings cite each clause; modules and fixtures do not count.

    Tests of the lab do not count either: they check what the lab shows, not the implementation.
    """
    found: dict[Clause, set[str]] = defaultdict(set)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        if path.parent.name == "lab":
            continue
        for name, text in _docstrings(path):
            if name.startswith("test_"):
                for each in cited(text):
                    found[each].add(f"`{path.relative_to(ROOT / 'tests')}::{name}`")
    return found


def rows() -> Iterator[tuple[str, str, list[str], list[str]]]:
    """Yield specification, section, places, and tests for each clause of the specifications in `TITLES`."""
    lives, proofs = places(), tests()
    for specification in TITLES:
        sections = sorted({section for name, section in lives if name == specification}, key=_order)
        for section in sections:
            proved = _proofs(specification, section, proofs)
            yield specification, section, sorted(lives[specification, section]), proved


def document() -> str:
    """Return the text of docs/specifications.md."""
    lines = [
        "# Specifications",
        "",
        "Find where each clause is implemented and which tests verify it. `make docs` generates this page from the",
        "registries (routes, grants, parameters, client metadata, flows, and checks) and from the clauses that",
        "docstrings cite. A test fails if the page is out of date or if a clause has no test.",
        "[Interoperability](interoperability.md) lists the third-party clients that are tested and the expected",
        "results of a certification.",
    ]
    before = ""
    for specification, section, where, proved in rows():
        if specification != before:
            lines += [
                "",
                f"## {specification}: {TITLES[specification]}",
                "",
                "| clause | implemented in | tests |",
                "| --- | --- | --- |",
            ]
            before = specification
        lines.append(f"| {section or 'all'} | {', '.join(where)} | {', '.join(proved)} |")
    return "\n".join(lines) + "\n"


def _proofs(specification: str, section: str, proofs: dict[Clause, set[str]]) -> list[str]:
    """Return the tests of a clause, or else of its subsections; citing a whole specification does not count."""
    exact = proofs.get((specification, section), set())
    parts = (found for (name, other), found in proofs.items() if name == specification and _is_part(other, section))
    return sorted(exact or {each for found in parts for each in found})


def _is_part(inner: str, outer: str) -> bool:
    return inner != outer and (not outer or inner.startswith(f"{outer}."))


def _order(section: str) -> list[Any]:
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in section.split(".")]


def _docstrings(path: Path) -> Iterator[tuple[str, str]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    yield "", ast.get_docstring(tree) or ""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, ast.get_docstring(node) or ""


def _path_of(module: str) -> str:
    file = f"{_FOLDERS[module.partition('.')[0]]}/{module.replace('.', '/')}"
    return f"{file}.py" if (ROOT / f"{file}.py").is_file() else f"{file}/__init__.py"


def _used(_modules: Iterable[Any]) -> None:
    """Mark modules as used: they register their checks when they are imported."""


_used((rolecall_auth.openapi.description, rolecall_client.openapi, rolecall_resource.openapi))
