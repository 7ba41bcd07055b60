"""The lab's people, clients, resources, scopes, and invoices from a YAML file, which can be applied repeatedly."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError
from sqlalchemy.orm import Session

from rolecall.sql import Database
from rolecall.storage import digest
from rolecall.vocabulary import ACCESS_TOKEN_TYPES, PROFILES, SIGNING_ALGORITHMS
from rolecall_auth import parameters
from rolecall_auth.clients.metadata import MEMBERS, auth_methods_fault
from rolecall_auth.models.claim_scope import ClaimScope
from rolecall_auth.models.client import Client, client_id_fault, redirect_uri_fault
from rolecall_auth.models.resource import Resource
from rolecall_auth.models.user import User, hash_password, is_password, normal_username
from rolecall_auth.openid import custom_claims, standard_claims
from rolecall_auth.settings import MAX_LIFETIME
from rolecall_resource.models import Invoice, Profile

DEFAULT: Final = Path(__file__).parent / "seeds.yaml"

_VARIABLE: Final = re.compile(r"\$\{([A-Z][A-Z0-9_]*)(?::-([^}]*))?\}")


class SeedsError(Exception):
    """The file is invalid; each of the `faults` starts with its line number."""

    def __init__(self, path: Path, faults: list[str]) -> None:
        super().__init__("; ".join(f"{path.name}:{fault}" for fault in faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Field:
    """A member of an entry.

    Args:
        choices: the allowed values of a string, or of each string in a list.
        maximum: the maximum of an integer that must be positive; None for any integer.
        further_fault: returns why no request can contain the value, as a predicate, or an empty string.
    """

    type: type
    required: bool = False
    choices: tuple[str, ...] = ()
    maximum: int | None = None
    further_fault: Callable[[Any], str] = lambda _: ""

    def fault(self, value: Any) -> str:
        """Return why the value is invalid, as the predicate of a sentence, or an empty string."""
        # bool is a subclass of int
        if not isinstance(value, self.type) or isinstance(value, bool) != (self.type is bool):
            return f"must be {_TYPE_NAMES[self.type]}"
        values = value if isinstance(value, list) else [value]
        if self.choices and not all(each in self.choices for each in values):
            return f"must be one of {', '.join(self.choices)}"
        if self.maximum is not None and value not in range(1, self.maximum + 1):
            return f"must be from 1 to {self.maximum}"
        return self.further_fault(value)


_TYPE_NAMES: Final = {str: "a string", int: "an integer", bool: "true or false", list: "a list", dict: "a mapping"}

_SECRET_FAULT: Final = partial(parameters.fault, "client_secret")

_MEMBER_TYPES: Final[Mapping[str, type]] = {
    "text": str,
    "uri": str,
    "texts": list,
    "uris": list,
    "number": int,
    "flag": bool,
    "keys": dict,
}

_REQUIRED_MEMBERS: Final = {"client_name", "token_endpoint_auth_method", "redirect_uris", "scope"}

_FIELDS: Final[dict[str, dict[str, Field]]] = {
    # first, because claims of people are only known by their scopes
    "claim_scopes": {
        "scope": Field(str, required=True),
        "description": Field(str, required=True),
        "claims": Field(list, required=True),
    },
    "people": {
        "username": Field(str, required=True),
        "password": Field(str, required=True),
        "sub": Field(str, required=True),
        "name": Field(str),
        "email": Field(str),
        "listed": Field(bool),
        "claims": Field(dict),
    },
    "resources": {
        "resource_id": Field(str, required=True, further_fault=partial(parameters.fault, "client_id")),
        "identifier": Field(str, required=True, further_fault=partial(parameters.fault, "resource")),
        "name": Field(str, required=True),
        "secret": Field(str, required=True, further_fault=_SECRET_FAULT),
        "scopes": Field(dict, required=True),
        "access_token_signing_alg": Field(str, choices=SIGNING_ALGORITHMS),
        "access_token_lifetime": Field(int, maximum=MAX_LIFETIME),
        "access_token_typ": Field(str, choices=ACCESS_TOKEN_TYPES),
    },
    "clients": {
        "client_id": Field(str, required=True, further_fault=client_id_fault),
        "description": Field(str),
        "profile": Field(str, choices=PROFILES),
        "secret": Field(str, further_fault=_SECRET_FAULT),
        "refresh_grace": Field(int),
        **{
            member.name: Field(_MEMBER_TYPES[member.kind], member.name in _REQUIRED_MEMBERS, member.choices)
            for member in MEMBERS
            if member.column
        },
    },
}

_ACCESS_TOKENS: Final[Mapping[str, Any]] = {
    "access_token_signing_alg": SIGNING_ALGORITHMS[0],
    "access_token_lifetime": None,
    "access_token_typ": ACCESS_TOKEN_TYPES[0],
}
"""The defaults of a resource."""

_CLIENT: Final[Mapping[str, Any]] = {
    "grant_types": ["authorization_code", "refresh_token"],
    "response_types": ["code"],
    "token_endpoint_auth_methods": None,
    "claims_in_id_token": False,
}
"""The defaults of a client."""

_INVOICE: Final = ("number", "supplier", "description", "amount_minor", "currency", "issued_on", "due_on", "state")


@dataclass(frozen=True, slots=True)
class Seeds:
    """The validated content of the file, as lists of plain dicts."""

    claim_scopes: list[dict[str, Any]]
    people: list[dict[str, Any]]
    resources: list[dict[str, Any]]
    clients: list[dict[str, Any]]
    invoices: dict[str, list[dict[str, Any]]]


def read(path: Path = DEFAULT, environ: Mapping[str, str] = os.environ) -> Seeds:
    """Read and validate a seeds file.

    Raises:
        SeedsError: the file cannot be read or is invalid; it reports every fault with its line number.
    """
    try:
        document = YAML(typ="rt").load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SeedsError(path, [f"0: the file cannot be read ({error.strerror})"]) from error
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise SeedsError(path, [f"{line}: {error.problem}"]) from error
    if not isinstance(document, CommentedMap):
        raise SeedsError(path, ["1: the file must be a mapping with people, resources, clients, and invoices"])
    reader = _Reader(environ)
    sections = {name: reader.section(document, name) for name in _FIELDS}
    invoices = reader.invoices(document, {person["username"] for person in sections["people"] if "username" in person})
    reader.check_names(document, [*_FIELDS, "invoices"], "the file")
    if reader.faults:
        raise SeedsError(path, reader.faults)
    return Seeds(**sections, invoices=invoices)


def people(environ: Mapping[str, str] = os.environ) -> list[dict[str, Any]]:
    """Return the people that the sign-in page lists, without reading the other sections."""
    path = Path(environ.get("SEEDS_FILE") or DEFAULT)
    found = _Reader(environ).section(YAML(typ="rt").load(path.read_text(encoding="utf-8")), "people")
    return [person for person in found if person.get("listed", True)]


class _Reader:
    """Reads the sections of a document and collects their faults."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._custom_claims: set[str] = set()
        self.faults: list[str] = []

    def section(self, document: CommentedMap, name: str) -> list[dict[str, Any]]:
        entries = document.get(name) or []
        if not isinstance(entries, list):
            self.faults.append(f"{_line(document, name)}: {name} must be a list")
            return []
        found = []
        for number, entry in enumerate(entries, 1):
            if isinstance(entry, CommentedMap):
                found.append(self._entry(entry, name))
            else:
                self.faults.append(f"{_line(document, name)}: entry {number} of {name} must be a mapping")
        return found

    def invoices(self, document: CommentedMap, usernames: set[str]) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for owner, rows in (document.get("invoices") or {}).items():
            line = _line(document["invoices"], owner)
            if owner not in usernames:
                self.faults.append(f"{line}: {owner} has invoices but is not in people")
            found[owner] = []
            for row in rows:
                if not isinstance(row, list) or len(row) != len(_INVOICE) or not isinstance(row[3], int):
                    self.faults.append(f"{line}: an invoice of {owner} must be a list of {', '.join(_INVOICE)}")
                    continue
                found[owner].append(dict(zip(_INVOICE, map(_plain, row), strict=True)))
        return found

    def check_names(self, entry: CommentedMap, expected: list[str], place: str) -> None:
        self.faults += [
            f"{_line(entry, name)}: {name} is unknown in {place}, expected one of {', '.join(expected)}"
            for name in entry
            if name not in expected
        ]

    def _entry(self, entry: CommentedMap, section: str) -> dict[str, Any]:
        fields = _FIELDS[section]
        self.check_names(entry, [*fields], section)
        found = {}
        for name, field in fields.items():
            line = _line(entry, name)
            if name not in entry:
                if field.required:
                    self.faults.append(f"{line}: {name} is required in {section}")
                continue
            value = self._value(entry[name], line)
            if fault := field.fault(value):
                self.faults.append(f"{line}: {name} {fault}")
            else:
                found[name] = value
        if section == "people":
            self._check_claims(found, entry)
        if section == "claim_scopes" and found.keys() == fields.keys():
            self._check_claim_scope(found, _line(entry, "scope"))
        if section == "clients":
            self._check_authentication(found, _line(entry, "client_id"))
            self._check_redirect_uris(found, _line(entry, "redirect_uris"))
        return found

    def _check_authentication(self, client: Mapping[str, Any], line: int) -> None:
        method = client.get("token_endpoint_auth_method", "")
        methods = client.get("token_endpoint_auth_methods", [method])
        if fault := auth_methods_fault(methods, method):
            self.faults.append(f"{line}: token_endpoint_auth_methods is invalid: {fault}")
        if ("secret" in client) == (method in {"none", "private_key_jwt"}):
            self.faults.append(f"{line}: a client must have a secret, unless its method is none or private_key_jwt")
        if method == "private_key_jwt" and ("jwks" in client) == ("jwks_uri" in client):
            self.faults.append(f"{line}: a client with private_key_jwt must have either jwks or jwks_uri")

    def _check_redirect_uris(self, client: Mapping[str, Any], line: int) -> None:
        for uri in client.get("redirect_uris", []):
            if fault := redirect_uri_fault(str(uri), client.get("application_type", "web"), lab=True):
                self.faults.append(f"{line}: the redirect URI {uri} {fault}")

    def _check_claim_scope(self, found: Mapping[str, Any], line: int) -> None:
        names = [str(name) for name in found["claims"]]
        self._custom_claims.update(names)
        faults = custom_claims.scope_faults(found["scope"], found["description"], names)
        self.faults += [f"{line}: {fault}" for fault in faults]

    def _check_claims(self, person: Mapping[str, Any], entry: CommentedMap) -> None:
        claims = entry.get("claims", CommentedMap())
        if not isinstance(claims, CommentedMap):
            return
        found = [*standard_claims.faults(claims, self._custom_claims)]
        for path, fault in found:
            place = claims[path[0]] if len(path) > 1 else claims
            self.faults.append(f"{_line(place, path[-1])}: {fault}")
        if not found and (fault := custom_claims.size_fault(_claims(person))):
            self.faults.append(f"{_line(entry, 'claims')}: {fault}")

    def _value(self, value: Any, line: int) -> Any:
        """Return the value as plain Python objects, with environment variables replaced."""
        if isinstance(value, str):
            return _VARIABLE.sub(lambda match: self._variable(match, line), value)
        if isinstance(value, list):
            return [self._value(each, line) for each in value]
        if isinstance(value, dict):
            return {str(key): self._value(each, line) for key, each in value.items()}
        return value

    def _variable(self, match: re.Match[str], line: int) -> str:
        value = self._environ.get(match[1]) or self._from_file(match[1]) or match[2]
        if value is None:
            self.faults.append(f"{line}: the environment variable {match[1]} is not set")
        return value or ""

    def _from_file(self, name: str) -> str | None:
        file = self._environ.get(f"{name}_FILE")
        return Path(file).read_text(encoding="utf-8").strip() if file else None


def apply(seeds: Seeds, auth: Database, resource: Database, seal: Callable[[bytes], bytes]) -> None:
    """Bring both databases to the state of the file, without touching what users have created.

    Args:
        seal: encrypts the secret of a client that signs with it, under DATA_KEY.
    """
    with auth.transaction() as session:
        for entry in seeds.claim_scopes:
            session.merge(ClaimScope(**entry))
        for person in seeds.people:
            _apply_person(session, person)
        for entry in seeds.resources:
            _apply_resource(session, entry)
        for entry in seeds.clients:
            _apply_client(session, entry, seal)
    people_by_name = {person["username"]: person for person in seeds.people}
    with resource.transaction() as session:
        for username, person in people_by_name.items():
            name, email = person.get("name", username), person.get("email")
            session.merge(Profile(owner_sub=person["sub"], name=name, email=email))
        for owner, rows in seeds.invoices.items():
            for row in rows:
                _apply_invoice(session, people_by_name[owner]["sub"], row)


def _apply_person(session: Session, person: dict[str, Any]) -> None:
    user = session.get(User, person["sub"])
    if user is None:
        user = User(id=person["sub"], username="", password_hash="")
        session.add(user)
    user.username = normal_username(person["username"])
    user.claims = _claims(person)
    if not user.password_hash or not is_password(user.password_hash, person["password"]):
        user.password_hash = hash_password(person["password"])


def _claims(person: Mapping[str, Any]) -> dict[str, Any]:
    claims: dict[str, Any] = person.get("claims", {})
    return {name: person[name] for name in ("name", "email") if name in person} | claims


def _apply_resource(session: Session, entry: dict[str, Any]) -> None:
    # the lab may have moved to other addresses
    moved = (Resource.resource_id == entry["resource_id"]) & (Resource.identifier != entry["identifier"])
    session.execute(sa.delete(Resource).where(moved))
    values = {**_ACCESS_TOKENS, **entry}
    secret = values.pop("secret")
    session.merge(Resource(**values, secret_hash=digest(secret)))


def _apply_client(session: Session, entry: dict[str, Any], seal: Callable[[bytes], bytes]) -> None:
    values = {**_CLIENT, **entry}
    secret = values.pop("secret", None)
    signs = values["token_endpoint_auth_method"] == "client_secret_jwt"
    session.merge(
        Client(
            **values,
            secret_hash=digest(secret) if secret and not signs else None,
            secret_sealed=seal(secret.encode()) if secret and signs else None,
        )
    )


def _apply_invoice(session: Session, owner_sub: str, row: dict[str, Any]) -> None:
    # an existing invoice is left alone, because it may have been paid
    invoice_id = "inv_" + digest(f"{owner_sub} {row['number']}")[:20]
    if session.get(Invoice, invoice_id) is None:
        session.add(Invoice(id=invoice_id, owner_sub=owner_sub, **row))


def _line(entry: CommentedMap, name: Any) -> int:
    """Return the line number of a member, or of the entry if it has no such member."""
    position: Callable[[Any], tuple[int, int]] = entry.lc.key
    try:
        return position(name)[0] + 1
    except KeyError:
        return int(entry.lc.line) + 1


def _plain(value: Any) -> Any:
    return value if isinstance(value, int) else str(value)
