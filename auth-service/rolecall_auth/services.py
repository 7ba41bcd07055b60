"""The service's dependencies, built once per application."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flask import current_app

from rolecall import storage
from rolecall.limits import Budget
from rolecall.sql import Database
from rolecall_auth.jose.access_tokens import AccessTokens
from rolecall_auth.jose.client_keys import ClientKeys
from rolecall_auth.jose.signing_keys import Keys
from rolecall_auth.limits import ANONYMOUS_BYTES, AUTHORIZATION_BYTES, LIMITS, Limits
from rolecall_auth.models.code import Codes
from rolecall_auth.models.interaction import Interactions
from rolecall_auth.models.registry import Registry
from rolecall_auth.models.replay import Replays
from rolecall_auth.models.revocation import Revocations
from rolecall_auth.models.session import Sessions
from rolecall_auth.outbound.fetcher import Fetcher
from rolecall_auth.settings import Settings

MIGRATIONS: Final = Path(__file__).parent / "migrations"


@dataclass(frozen=True, slots=True)
class Services:
    """The settings, stores, and other dependencies of the service."""

    settings: Settings
    database: Database
    store: storage.Store
    keys: Keys
    registry: Registry
    access_tokens: AccessTokens
    codes: Codes
    interactions: Interactions
    sessions: Sessions
    revocations: Revocations
    replays: Replays
    limits: Limits
    memory: storage.Memory
    budget: Budget
    fetcher: Fetcher
    client_keys: ClientKeys


def build(settings: Settings) -> Services:
    """Build the dependencies without opening connections."""
    # the prefix of all Redis keys: issuers with different paths can share a Redis
    prefix = f"auth:{settings.path}" if settings.path else "auth"
    database = Database(settings.database_url, MIGRATIONS)
    revocations = Revocations(database, prefix, keep=settings.keep_expired)

    def greet(connection: Any) -> None:
        revocations.greet(connection)
        replays.greet(connection)

    client = storage.connect(settings.redis_url, on_connect=greet)
    revocations.use(client)
    store = storage.Store(client, prefix, keep=settings.keep_expired)
    replays = Replays(store, lambda: revocations.run_id)
    keys = Keys(
        database,
        settings.data_key,
        jwks_max_age=settings.jwks_max_age,
        token_lifetime=settings.access_token_lifetime,
    )
    registry = Registry(database, settings.issuer)
    limits = Limits({row.setting: getattr(settings, row.setting) for row in LIMITS}, client, prefix)
    memory = storage.Memory(client, settings.SERVICE)
    fetcher = Fetcher(lab=settings.lab, ca_file=settings.ca_file)
    return Services(
        settings=settings,
        database=database,
        store=store,
        keys=keys,
        registry=registry,
        access_tokens=AccessTokens(keys, settings.issuer, registry),
        codes=Codes(store),
        interactions=Interactions(store, settings.request_lifetime),
        sessions=Sessions(store, settings.session_lifetime),
        revocations=revocations,
        replays=replays,
        limits=limits,
        memory=memory,
        budget=Budget(limits, memory, AUTHORIZATION_BYTES, ANONYMOUS_BYTES),
        fetcher=fetcher,
        client_keys=ClientKeys(fetcher, settings.data_key),
    )


def services() -> Services:
    """Return the dependencies of the current application."""
    # the application itself, because each attribute of the proxy is slower
    found: Services = current_app._get_current_object().extensions["rolecall_auth"]  # type: ignore[attr-defined]
    return found
