"""A per-process cache of clients and resources, so that most requests need no SQL query for them."""

from __future__ import annotations

import re
import threading
from typing import Final

import sqlalchemy as sa

from rolecall import clock, events
from rolecall.sql import Database
from rolecall_auth.models.client import Client
from rolecall_auth.models.resource import Resource

MAX_AGE: Final = 2.0
"""Seconds that a row is cached.

Disabling a client ends its authorizations immediately, but other processes may see its registration this much longer.
"""

MAX_CLIENTS: Final = 1000

_EMPTY_PATH: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://[^/?#]+)/?((?:\?.*)?)")


class Registry:
    """Reads each row at most once in `MAX_AGE` seconds; a missing row is queried each time."""

    def __init__(self, database: Database, issuer: str) -> None:
        self.userinfo: Final = Resource(
            identifier=issuer, resource_id="userinfo", name="Your account", secret_hash="", scopes={}
        )
        """The userinfo endpoint, as a protected resource of the authorization server itself."""
        self._database = database
        self._lock = threading.Lock()
        self._clients: dict[str, tuple[float, Client]] = {}
        self._resources: tuple[float, tuple[Resource, ...]] = (float("-inf"), ())

    def client(self, client_id: str) -> Client | None:
        """Return a client, or None if it is unknown or disabled."""
        cached = self._clients.get(client_id)
        if cached is not None and cached[0] > clock.cache_time() - MAX_AGE:
            events.note("identity", value=client_id)
            return cached[1]
        with self._database.read() as session:
            client = session.get(Client, client_id)
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
        read_at, resources = self._resources
        if read_at <= clock.cache_time() - MAX_AGE:
            with self._database.read() as session:
                resources = tuple(session.scalars(sa.select(Resource).order_by(Resource.identifier)))
            self._resources = (clock.cache_time(), resources)
        return resources

    def resource(self, identifier: str) -> Resource | None:
        """Return the resource with this identifier, or with one of which only an empty path is spelled differently."""
        resources = (*self.resources(), self.userinfo)
        exact = (resource for resource in resources if resource.identifier == identifier)
        return next(exact, next((each for each in resources if is_same_resource(each.identifier, identifier)), None))


def is_same_resource(one: str, other: str) -> bool:
    """Whether two identifiers are equal, with or without the slash of an empty path (RFC 3986 section 6.2.3)."""
    return _with_path(one) == _with_path(other)


def _with_path(identifier: str) -> str:
    match = _EMPTY_PATH.fullmatch(identifier)
    return f"{match[1]}/{match[2]}" if match else identifier
