"""The standard claims about a user and their types (OpenID Connect Core section 5.1)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from rolecall_auth.openid import custom_claims, scopes

TYPES: Final[Mapping[str, type]] = {
    **{name: str for names in scopes.CLAIMS.values() for name in names},
    "updated_at": int,
    "email_verified": bool,
    "phone_number_verified": bool,
    "address": dict,
}

_TYPE_NAMES: Final[Mapping[type, str]] = {
    str: "a string",
    int: "an integer",
    bool: "a boolean",
    dict: "an object",
}

ADDRESS: Final = ("formatted", "street_address", "locality", "region", "postal_code", "country")
"""The members of an address, which are strings (OpenID Connect Core section 5.1.1)."""


def faults(claims: Mapping[str, Any], custom: Collection[str]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the path and the message of each error in a user's claims.

    The types of standard claims are strict, because applications rely on them: for example, `"true"` is not accepted
    for a boolean.

    Args:
        custom: the further claims that a scope releases. Others could never be read, and are probably misspelled.
    """
    for name, value in claims.items():
        found = [*_faults_of(name, value, custom)]
        if not found and (fault := custom_claims.value_fault(value)):
            found.append(((name,), f"{name} {fault}"))
        yield from found


def _faults_of(name: str, value: Any, custom: Collection[str]) -> Iterator[tuple[tuple[str, ...], str]]:
    if name not in TYPES:
        if name not in custom:
            yield (name,), f"{name} is not a standard claim, and no claim scope releases it"
    elif name == "address" and isinstance(value, dict):
        yield from _address_faults(value)
    elif type(value) is not TYPES[name]:
        yield (name,), f"{name} must be {_TYPE_NAMES[TYPES[name]]}"


def _address_faults(address: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    for name, value in address.items():
        if name not in ADDRESS:
            yield ("address", name), f"{name} is not a member of address"
        elif not isinstance(value, str):
            yield ("address", name), f"{name} must be a string"
