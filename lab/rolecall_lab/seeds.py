"""The lab's people, clients and resources from one YAML file, applied as often as one likes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError

from rolecall.sql import Database
from rolecall.storage import digest
from rolecall.vocabulary import ASSERTION_ALGORITHMS, CLIENT_AUTH_METHODS, ID_TOKEN_ALGORITHMS, PROFILES
from rolecall_auth.models.client import Client
from rolecall_auth.models.resource import Resource
from rolecall_auth.models.user import User, hash_password, is_password, normal_username
from rolecall_auth.openid import standard_claims
from rolecall_resource.models import Invoice, Profile

DEFAULT: Final = Path(__file__).parent / "seeds.yaml"

_VARIABLE: Final = re.compile(r"\$\{([A-Z][A-Z0-9_]*)(?::-([^}]*))?\}")


class SeedsError(Exception):
    """The file has faults; each names its line."""

    def __init__(self, path: Path, faults: list[str]) -> None:
        super().__init__("; ".join(f"{path.name}:{fault}" for fault in faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Field:
    """A member of an entry: its type, and whether it must be there."""

    type: type
    required: bool = False
    choices: tuple[str, ...] = ()


_SIGNING: Final = tuple(each for algorithms in ASSERTION_ALGORITHMS.values() for each in algorithms)

_FIELDS: Final[dict[str, dict[str, Field]]] = {
    "people": {
        "username": Field(str, required=True),
        "password": Field(str, required=True),
        "sub": Field(str, required=True),
        "name": Field(str),
        "email": Field(str),
        "claims": Field(dict),
    },
    "resources": {
        "resource_id": Field(str, required=True),
        "identifier": Field(str, required=True),
        "name": Field(str, required=True),
        "secret": Field(str, required=True),
        "scopes": Field(dict, required=True),
    },
    "clients": {
        "client_id": Field(str, required=True),
        "client_name": Field(str, required=True),
        "description": Field(str),
        "client_uri": Field(str),
        "profile": Field(str, choices=PROFILES),
        "application_type": Field(str, choices=("web", "native")),
        "token_endpoint_auth_method": Field(str, required=True, choices=CLIENT_AUTH_METHODS),
        "secret": Field(str),
        "redirect_uris": Field(list, required=True),
        "grant_types": Field(list),
        "response_types": Field(list),
        "scope": Field(str, required=True),
        "refresh_grace": Field(int),
        "subject_type": Field(str, choices=("public", "pairwise")),
        "id_token_signed_response_alg": Field(str, choices=ID_TOKEN_ALGORITHMS),
        "userinfo_signed_response_alg": Field(str, choices=ID_TOKEN_ALGORITHMS),
        "token_endpoint_auth_signing_alg": Field(str, choices=_SIGNING),
        "request_object_signing_alg": Field(str, choices=ID_TOKEN_ALGORITHMS),
        "request_uris": Field(list),
        "jwks": Field(dict),
        "jwks_uri": Field(str),
        "default_max_age": Field(int),
    },
}

_INVOICE: Final = ("number", "supplier", "description", "amount_minor", "currency", "issued_on", "due_on", "state")


@dataclass(frozen=True, slots=True)
class Seeds:
    """The file's content, checked; lists of plain dicts."""

    people: list[dict[str, Any]]
    resources: list[dict[str, Any]]
    clients: list[dict[str, Any]]
    invoices: dict[str, list[dict[str, Any]]]


def read(path: Path = DEFAULT, environ: Mapping[str, str] = os.environ) -> Seeds:
    """Read and check a seeds file.

    Raises:
        SeedsError: with every fault and its line.
    """
    try:
        document = YAML(typ="rt").load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SeedsError(path, [f"0: cannot be read ({error.strerror})"]) from error
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise SeedsError(path, [f"{line}: {error.problem}"]) from error
    if not isinstance(document, CommentedMap):
        raise SeedsError(path, ["1: must hold people, resources, clients and invoices"])
    reader = _Reader(environ)
    sections = {name: reader.section(document, name) for name in _FIELDS}
    invoices = reader.invoices(document, {person["username"] for person in sections["people"] if "username" in person})
    reader.unknown(document, {*_FIELDS, "invoices"}, "")
    if reader.faults:
        raise SeedsError(path, reader.faults)
    return Seeds(**sections, invoices=invoices)


def people(environ: Mapping[str, str] = os.environ) -> list[dict[str, Any]]:
    """The people that the sign-in page shows; the rest of the file is not looked at."""
    path = Path(environ.get("SEEDS_FILE") or DEFAULT)
    return _Reader(environ).section(YAML(typ="rt").load(path.read_text(encoding="utf-8")), "people")


class _Reader:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.faults: list[str] = []

    def section(self, document: CommentedMap, name: str) -> list[dict[str, Any]]:
        entries = document.get(name) or []
        if not isinstance(entries, list):
            self.faults.append(f"{_line(document, name)}: {name} must be a list")
            return []
        return [self._entry(document, name, entries, position) for position in range(len(entries))]

    def _entry(self, document: CommentedMap, section: str, entries: Any, position: int) -> dict[str, Any]:
        entry = entries[position]
        if not isinstance(entry, CommentedMap):
            self.faults.append(f"{_line(document, section)}: entry {position + 1} of {section} must have names")
            return {}
        fields = _FIELDS[section]
        self.unknown(entry, set(fields), f" in {section}")
        found = {}
        for name, wanted in fields.items():
            line = _line(entry, name)
            if name not in entry:
                if wanted.required:
                    self.faults.append(f"{line}: {name} is missing in {section}")
                continue
            value = self._value(entry[name], line)
            if not isinstance(value, wanted.type) or isinstance(value, bool):
                self.faults.append(f"{line}: {name} must be a {wanted.type.__name__}")
            elif wanted.choices and value not in wanted.choices:
                self.faults.append(f"{line}: {name} must be one of {', '.join(wanted.choices)}")
            else:
                found[name] = value
        self._claims(entry.get("claims"))
        if section == "clients":
            method, line = found.get("token_endpoint_auth_method"), _line(entry, "client_id")
            if ("secret" in found) == (method in {"none", "private_key_jwt"}):
                self.faults.append(f"{line}: a client has a secret unless its method is none or private_key_jwt")
            if method == "private_key_jwt" and ("jwks" in found) == ("jwks_uri" in found):
                self.faults.append(f"{line}: a client with private_key_jwt has jwks or jwks_uri")
        return found

    def _claims(self, claims: Any) -> None:
        if not isinstance(claims, CommentedMap):
            return
        for path, fault in standard_claims.faults(claims):
            place = claims[path[0]] if len(path) > 1 else claims
            self.faults.append(f"{_line(place, path[-1])}: {fault}")

    def invoices(self, document: CommentedMap, people: set[str]) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for owner, rows in (document.get("invoices") or {}).items():
            line = _line(document["invoices"], owner)
            if owner not in people:
                self.faults.append(f"{line}: there is no person {owner}")
            found[owner] = []
            for row in rows:
                if not isinstance(row, list) or len(row) != len(_INVOICE) or not isinstance(row[3], int):
                    self.faults.append(f"{line}: an invoice of {owner} is not [{', '.join(_INVOICE)}]")
                    continue
                found[owner].append(dict(zip(_INVOICE, map(_plain, row), strict=True)))
        return found

    def unknown(self, entry: CommentedMap, known: set[str], where: str) -> None:
        self.faults += [f"{_line(entry, name)}: {name} is not known{where}" for name in entry if name not in known]

    def _value(self, value: Any, line: int) -> Any:
        if isinstance(value, str):
            return _VARIABLE.sub(lambda match: self._variable(match, line), value)
        if isinstance(value, list):
            return [self._value(each, line) for each in value]
        if isinstance(value, dict):
            return {str(key): self._value(each, line) for key, each in value.items()}
        return value

    def _from_file(self, name: str) -> str | None:
        file = self._environ.get(f"{name}_FILE")
        return Path(file).read_text(encoding="utf-8").strip() if file else None

    def _variable(self, match: re.Match[str], line: int) -> str:
        value = self._environ.get(match[1]) or self._from_file(match[1]) or match[2]
        if value is None:
            self.faults.append(f"{line}: the variable {match[1]} is not set")
        return value or ""


def apply(seeds: Seeds, auth: Database, resource: Database, seal: Callable[[bytes], bytes]) -> None:
    """Bring both databases to the state of the file; what people made themselves is left alone.

    Args:
        seal: encrypts the secret of a client that signs with it, under DATA_KEY.
    """
    with auth.transaction() as session:
        for person in seeds.people:
            _person(session, person)
        for entry in seeds.resources:
            values = {**entry, "secret_hash": digest(entry["secret"])}
            values.pop("secret")
            # the lab may have moved to other addresses
            moved = (Resource.resource_id == entry["resource_id"]) & (Resource.identifier != entry["identifier"])
            session.execute(sa.delete(Resource).where(moved))
            session.merge(Resource(**values))
        for entry in seeds.clients:
            values = {"grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"], **entry}
            secret = values.pop("secret", None)
            signs = values["token_endpoint_auth_method"] == "client_secret_jwt"
            session.merge(
                Client(
                    **values,
                    secret_hash=digest(secret) if secret and not signs else None,
                    secret_sealed=seal(secret.encode()) if secret and signs else None,
                )
            )
    subjects = {person["username"]: person for person in seeds.people}
    with resource.transaction() as session:
        for username, person in subjects.items():
            session.merge(
                Profile(owner_sub=person["sub"], name=person.get("name", username), email=person.get("email"))
            )
        for owner, rows in seeds.invoices.items():
            subject = subjects[owner]["sub"]
            for row in rows:
                # an invoice that was paid since stays paid
                invoice_id = "inv_" + digest(f"{subject} {row['number']}")[:20]
                if session.get(Invoice, invoice_id) is None:
                    session.add(Invoice(id=invoice_id, owner_sub=subject, **row))


def _person(session: Any, person: dict[str, Any]) -> None:
    user = session.get(User, person["sub"])
    if user is None:
        user = User(id=person["sub"], username="", password_hash="")
        session.add(user)
    user.username = normal_username(person["username"])
    user.claims = {name: person[name] for name in ("name", "email") if name in person} | person.get("claims", {})
    if not user.password_hash or not is_password(user.password_hash, person["password"]):
        user.password_hash = hash_password(person["password"])


def _line(entry: CommentedMap, name: Any) -> int:
    """The line of a member, or of the entry when the member is not there."""
    place: Callable[[Any], tuple[int, int]] = entry.lc.key
    try:
        return place(name)[0] + 1
    except KeyError:
        return int(entry.lc.line) + 1


def _plain(value: Any) -> Any:
    return value if isinstance(value, int) else str(value)
