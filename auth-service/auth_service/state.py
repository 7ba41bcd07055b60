"""What the service is made of, once a process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from flask import current_app

from auth_service.client_keys import ClientKeys
from auth_service.fetch import Fetcher
from auth_service.keys import Keys
from auth_service.models.code import Codes
from auth_service.models.interaction import Interactions
from auth_service.models.registry import Registry
from auth_service.models.replay import Replays
from auth_service.models.revocation import Revocations
from auth_service.models.session import Sessions
from auth_service.settings import Settings
from auth_service.throttles import Limits, Throttles
from rolecall import storage
from rolecall.sql import Database

MIGRATIONS: Final = Path(__file__).parent / "migrations"
PREFIX: Final = "auth"
"""Of all keys in Redis."""


@dataclass(frozen=True, slots=True)
class State:
    """Settings and stores."""

    settings: Settings
    database: Database
    store: storage.Store
    keys: Keys
    registry: Registry
    codes: Codes
    interactions: Interactions
    sessions: Sessions
    revocations: Revocations
    replays: Replays
    throttles: Throttles
    fetcher: Fetcher
    client_keys: ClientKeys


def build(settings: Settings) -> State:
    """Put it together; connects to nothing yet."""
    database = Database(settings.database_url, MIGRATIONS)
    revocations = Revocations(database, PREFIX, lifetime=settings.access_token_lifetime, keep=settings.keep_expired)

    def greet(connection: Any) -> None:
        revocations.greet(connection)
        replays.greet(connection)

    client = storage.connect(settings.redis_url, on_connect=greet)
    revocations.use(client)
    store = storage.Store(client, PREFIX, keep=settings.keep_expired)
    replays = Replays(store, lambda: revocations.run_id)
    keys = Keys(
        database,
        settings.data_key,
        jwks_max_age=settings.jwks_max_age,
        token_lifetime=settings.access_token_lifetime,
    )
    fetcher = Fetcher(lab=settings.lab)
    return State(
        settings=settings,
        database=database,
        store=store,
        keys=keys,
        registry=Registry(database, settings.issuer),
        codes=Codes(store),
        interactions=Interactions(store, settings.request_lifetime),
        sessions=Sessions(store, settings.session_lifetime),
        revocations=revocations,
        replays=replays,
        throttles=Throttles(
            Limits(
                account=settings.sign_in_limit,
                address=settings.sign_in_address_limit,
                sign_up=settings.sign_up_limit,
                authorization=settings.authorization_limit,
                client=settings.client_limit,
                client_address=settings.client_address_limit,
                registration=settings.registration_limit,
            ),
            client,
            PREFIX,
        ),
        fetcher=fetcher,
        client_keys=ClientKeys(fetcher, settings.data_key),
    )


def state() -> State:
    """That of the application which serves this request."""
    return cast("State", current_app.extensions["auth_service"])
