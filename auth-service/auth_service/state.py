"""What the service is made of, once a process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from flask import current_app

from auth_service.keys import Keys
from auth_service.models.code import Codes
from auth_service.models.interaction import Interactions
from auth_service.models.registry import Registry
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
    throttles: Throttles


def build(settings: Settings) -> State:
    """Put it together; connects to nothing yet."""
    database = Database(settings.database_url, MIGRATIONS)
    revocations = Revocations(database, PREFIX, lifetime=settings.access_token_lifetime, keep=settings.keep_expired)
    client = storage.connect(settings.redis_url, on_connect=revocations.greet)
    revocations.use(client)
    store = storage.Store(client, PREFIX, keep=settings.keep_expired)
    keys = Keys(
        database,
        settings.data_key,
        jwks_max_age=settings.jwks_max_age,
        token_lifetime=settings.access_token_lifetime,
    )
    return State(
        settings=settings,
        database=database,
        store=store,
        keys=keys,
        registry=Registry(database),
        codes=Codes(store),
        interactions=Interactions(store, settings.request_lifetime),
        sessions=Sessions(store, settings.session_lifetime),
        revocations=revocations,
        throttles=Throttles(
            Limits(
                account=settings.sign_in_limit,
                address=settings.sign_in_address_limit,
                sign_up=settings.sign_up_limit,
                authorization=settings.authorization_limit,
                client=settings.client_limit,
            ),
            client,
            PREFIX,
        ),
    )


def state() -> State:
    """That of the application which serves this request."""
    return cast("State", current_app.extensions["auth_service"])
