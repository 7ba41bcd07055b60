"""Clients and resources as the request path reads them: from a cache of this process, refilled from SQL."""

from __future__ import annotations

import threading
from typing import Final

import sqlalchemy as sa

from rolecall import clock
from rolecall.sql import Database
from rolecall_auth.models.client import Client
from rolecall_auth.models.resource import Resource

MAX_AGE: Final = 2.0
"""Seconds; a client that is disabled loses its authorizations at once, and its registration within this time."""

MAX_CLIENTS: Final = 1000


class Registry:
    """Reads rows once in `MAX_AGE` seconds; what does not exist is asked for each time."""

    def __init__(self, database: Database, issuer: str) -> None:
        self.userinfo: Final = Resource(
            identifier=issuer, resource_id="userinfo", name="Your account", secret_hash="", scopes={}
        )
        """Where what is known of a person is told: the authorization server itself."""
        self._database = database
        self._lock = threading.Lock()
        self._clients: dict[str, tuple[float, Client]] = {}
        self._resources: tuple[float, tuple[Resource, ...]] = (float("-inf"), ())

    def client(self, client_id: str) -> Client | None:
        """The client of this id; None when it is unknown or disabled."""
        found = self._clients.get(client_id)
        if found is not None and found[0] > clock.cache_time() - MAX_AGE:
            return found[1]
        with self._database.read() as session:
            client = session.get(Client, client_id)
        with self._lock:
            if client is None or client.disabled_at is not None:
                self._clients.pop(client_id, None)
                return None
            if len(self._clients) >= MAX_CLIENTS:
                self._clients.clear()
            self._clients[client_id] = (clock.cache_time(), client)
        return client

    def forget(self, client_id: str) -> None:
        """Read the client anew at once; other processes do within `MAX_AGE`."""
        with self._lock:
            self._clients.pop(client_id, None)

    def resources(self) -> tuple[Resource, ...]:
        """All protected resources."""
        read_at, resources = self._resources
        if read_at <= clock.cache_time() - MAX_AGE:
            with self._database.read() as session:
                resources = tuple(session.scalars(sa.select(Resource).order_by(Resource.identifier)))
            self._resources = (clock.cache_time(), resources)
        return resources

    def resource(self, identifier: str) -> Resource | None:
        """The protected resource of this identifier."""
        return next((resource for resource in self.resources() if resource.identifier == identifier), None)
