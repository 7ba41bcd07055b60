"""The service's dependencies, built once per process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from flask import current_app

from rolecall import storage
from rolecall.http import HttpClient
from rolecall_client.runner import Runner
from rolecall_client.session import Sessions
from rolecall_client.settings import Settings


@dataclass(frozen=True, slots=True)
class Services:
    """Settings, stores, and the runner of flows."""

    settings: Settings
    store: storage.Store
    sessions: Sessions
    runner: Runner


def build(settings: Settings, http: HttpClient) -> Services:
    """Build the services. Does not open any connections."""
    client = storage.connect(settings.redis_url)
    store = storage.Store(client, "client", keep=settings.keep_expired, cipher=settings.data_key)
    return Services(
        settings=settings,
        store=store,
        sessions=Sessions(store, settings.session_lifetime),
        runner=Runner(settings, store, http),
    )


def services() -> Services:
    """Return the services of the current application."""
    return cast("Services", current_app.extensions["rolecall_client"])
