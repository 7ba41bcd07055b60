"""The service's dependencies, built once per process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from flask import current_app

from rolecall import storage
from rolecall.http import HttpClient
from rolecall.limits import Budget, Limits
from rolecall_client.limits import ANONYMOUS_BYTES, FLOW_BYTES, LIMITS
from rolecall_client.runner import Runner
from rolecall_client.session import Allowance, Sessions
from rolecall_client.settings import Settings


@dataclass(frozen=True, slots=True)
class Services:
    """Settings, stores, and the runner of flows."""

    settings: Settings
    store: storage.Store
    memory: storage.Memory
    sessions: Sessions
    runner: Runner


def build(settings: Settings, http: HttpClient) -> Services:
    """Build the services without opening connections."""
    client = storage.connect(settings.redis_url)
    store = storage.Store(client, "client", keep=settings.keep_expired, cipher=settings.data_key)
    memory = storage.Memory(client, settings.SERVICE)
    limits = Limits({row.setting: getattr(settings, row.setting) for row in LIMITS}, client, store.prefix)
    sessions = Sessions(store, settings.session_lifetime)
    allowance = Allowance(sessions, limits, Budget(limits, memory, FLOW_BYTES, ANONYMOUS_BYTES))
    return Services(
        settings=settings,
        store=store,
        memory=memory,
        sessions=sessions,
        runner=Runner(settings, store, http, allowance),
    )


def services() -> Services:
    """Return the services of the current application."""
    return cast("Services", current_app.extensions["rolecall_client"])
