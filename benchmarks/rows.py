"""The measurements: each row is a kind of request, or a whole code flow."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from applications import COUNTS
from flow import basic
from servers import Site

USERS: Final = 16


@dataclass(frozen=True)
class Row:
    """A kind of request.

    Args:
        job: returns the task for `load.py`, for so many users.
        servers: the servers that handle it, beginning with the server that receives the requests.
    """

    name: str
    job: Callable[[Site, int], dict[str, Any]]
    servers: tuple[str, ...] = ("auth",)


def _get(path: str, **headers: str) -> dict[str, Any]:
    return {"scenario": "request", "method": "GET", "path": path, "form": None, "headers": headers, "own": []}


def _tokens(site: Site, scope: str) -> dict[str, Any]:
    return site.party.tokens(scope, site.visit)


def _refresh(scope: str) -> Callable[[Site, int], dict[str, Any]]:
    def job(site: Site, users: int) -> dict[str, Any]:
        own = [{"refresh_token": _tokens(site, scope)["refresh_token"]} for _ in range(users)]
        return {"scenario": "refresh", "form": {}, "headers": site.party.credentials, "own": own}

    return job


def _code(scope: str) -> Callable[[Site, int], dict[str, Any]]:
    def job(site: Site, users: int) -> dict[str, Any]:
        _tokens(site, scope)  # signs in and consents
        cookie = "; ".join(f"{cookie.name}={cookie.value}" for cookie in site.walker.cookies)
        return {
            "scenario": "code",
            "path": site.party.authorization_request(scope),
            "form": site.party.redemption(""),
            "headers": {},
            "credentials": site.party.credentials,
            "own": [{"cookie": cookie}] * users,
        }

    return job


def _introspection(site: Site, _users: int) -> dict[str, Any]:
    form = {"token": _tokens(site, "invoices:read")["access_token"]}
    return {**_get("/introspect", **basic("invoices-api", site.secret)), "method": "POST", "form": form}


def _bearer(path: str, scope: str) -> Callable[[Site, int], dict[str, Any]]:
    def job(site: Site, _users: int) -> dict[str, Any]:
        return _get(path, Authorization=f"Bearer {_tokens(site, scope)['access_token']}")

    return job


EMPTY: Final = Row("empty route", lambda _site, _users: _get("/"), ("empty",))

ROWS: Final = (
    EMPTY,
    Row("refresh", _refresh("invoices:read")),
    Row("refresh, RS256 ID token", _refresh("openid offline_access invoices:read")),
    Row("code flow", _code("invoices:read")),
    Row("code flow, RS256 ID token", _code("openid invoices:read")),
    Row("introspection", _introspection),
    Row("userinfo", _bearer("/userinfo", "openid profile email")),
    Row("key set", lambda _site, _users: _get("/jwks")),
    Row("metadata", lambda _site, _users: _get("/.well-known/openid-configuration")),
    Row("invoices, JWT", _bearer("/invoices", "invoices:read"), ("jwt",)),
    Row("invoices, introspection", _bearer("/invoices", "invoices:read"), ("introspection", "auth")),
)


def chosen(names: str) -> tuple[Row, ...]:
    """Return the rows whose names begin with one of these, separated by commas, after the empty route; or all rows.

    Raises:
        SystemExit: a name is unknown.
    """
    if not names:
        return ROWS
    starts = [name.strip() for name in names.split(",")]
    unknown = [start for start in starts if not any(row.name.startswith(start) for row in ROWS)]
    if unknown:
        raise SystemExit(f"bench: unknown row {unknown[0]}; the rows are: {'; '.join(row.name for row in ROWS)}")
    return (EMPTY, *(row for row in ROWS[1:] if any(row.name.startswith(start) for start in starts)))


def counts(site: Site, servers: tuple[str, ...]) -> dict[str, int]:
    """Return the SQL statements and Redis round trips of these servers until now."""
    total = {"sql": 0, "redis": 0}
    for name in servers:
        if name != "empty":
            with urllib.request.urlopen(f"{site.servers[name].url}{COUNTS}", timeout=10) as response:
                for kind, number in json.load(response).items():
                    total[kind] += number
    return total
