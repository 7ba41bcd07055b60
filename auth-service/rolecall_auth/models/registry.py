"""A per-process cache of clients, resources, and claim scopes, so that most requests need no SQL query for them."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from typing import Final, NamedTuple

import sqlalchemy as sa

from rolecall import clock, events
from rolecall.sql import Database
from rolecall.vocabulary import ACCESS_TOKEN_TYPE, SIGNING_ALGORITHMS
from rolecall_auth.models.claim_scope import ClaimScope
from rolecall_auth.models.client import Client
from rolecall_auth.models.resource import Resource

MAX_AGE: Final = 2.0
"""Seconds that a row is cached.

Disabling a client ends its authorizations immediately, but other processes may use its registration for this much
longer.
"""

MAX_CLIENTS: Final = 1000

_CLIENT: Final = sa.select(Client.__table__).where(Client.__table__.c.client_id == sa.bindparam("client"))

_EMPTY_PATH: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://[^/?#]+)/?((?:\?.*)?)")


class _Scopes(NamedTuple):
    read_at: float
    resources: tuple[Resource, ...]
    claim_scopes: Mapping[str, ClaimScope]


class Registry:
    """A cache that reads each row at most once in `MAX_AGE` seconds; a missing row is queried each time."""

    def __init__(self, database: Database, issuer: str) -> None:
        self.userinfo: Final = Resource(
            identifier=issuer,
            resource_id="userinfo",
            name="Your account",
            secret_hash="",
            scopes={},
            access_token_signing_alg=SIGNING_ALGORITHMS[0],
            access_token_typ=ACCESS_TOKEN_TYPE,
        )
        """The userinfo endpoint, as a protected resource of the authorization server itself."""
        self._database = database
        self._lock = threading.Lock()
        self._clients: dict[str, tuple[float, Client]] = {}
        self._scopes = _Scopes(float("-inf"), (), {})

    def client(self, client_id: str) -> Client | None:
        """Return a client, or None if it is unknown or disabled."""
        cached = self._clients.get(client_id)
        if cached is not None and cached[0] > clock.cache_time() - MAX_AGE:
            events.note("identity", value=client_id)
            return cached[1]
        with self._database.connect() as connection:
            row = connection.execute(_CLIENT, {"client": client_id}).mappings().one_or_none()
        client = Client(**row) if row is not None else None
        if client is not None:
            events.note("identity", value=client_id)
        with self._lock:
            if client is None or client.disabled_at is not None:
                self._clients.pop(client_id, None)
                return None
            if len(self._clients) >= MAX_CLIENTS:
                self._clients.clear()
            self._clients[client_id] = (clock.cache_time(), client)
        return client

    def forget(self, client_id: str) -> None:
        """Remove a client from the cache of this process; other processes read it again within `MAX_AGE`."""
        with self._lock:
            self._clients.pop(client_id, None)

    def resources(self) -> tuple[Resource, ...]:
        """Return all protected resources, ordered by identifier."""
        return self._read_scopes().resources

    def claim_scopes(self) -> Mapping[str, ClaimScope]:
        """Return the scopes that release claims which no specification defines, by scope value."""
        return self._read_scopes().claim_scopes

    def resource(self, identifier: str) -> Resource | None:
        """Return the resource with this identifier, or with one that differs only in the spelling of an empty path."""
        resources = (*self.resources(), self.userinfo)
        for resource in resources:
            if resource.identifier == identifier:
                return resource
        return next((each for each in resources if is_same_resource(each.identifier, identifier)), None)

    def audience(self, identifier: str) -> Resource:
        """Return the resource that tokens are issued for; the userinfo endpoint if the resource has been removed."""
        return self.resource(identifier) or self.userinfo

    def _read_scopes(self) -> _Scopes:
        scopes = self._scopes
        if scopes.read_at <= clock.cache_time() - MAX_AGE:
            with self._database.read() as session:
                resources = tuple(session.scalars(sa.select(Resource).order_by(Resource.identifier)))
                claim_scopes = session.scalars(sa.select(ClaimScope).order_by(ClaimScope.scope))
                by_value = {each.scope: each for each in claim_scopes}
            scopes = self._scopes = _Scopes(clock.cache_time(), resources, by_value)
        return scopes


def is_same_resource(one: str, other: str) -> bool:
    """Whether two identifiers are equal, apart from the slash of an empty path (RFC 3986 section 6.2.3)."""
    return one == other or _with_path(one) == _with_path(other)


def _with_path(identifier: str) -> str:
    match = _EMPTY_PATH.fullmatch(identifier)
    return f"{match[1]}/{match[2]}" if match else identifier
