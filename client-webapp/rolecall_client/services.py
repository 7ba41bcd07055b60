"""What the service is made of, once a process."""

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
    """Settings and stores."""

    settings: Settings
    store: storage.Store
    sessions: Sessions
    runner: Runner


def build(settings: Settings) -> Services:
    """Put it together; connects to nothing yet."""
    client = storage.connect(settings.redis_url)
    store = storage.Store(client, "client", keep=settings.keep_expired, cipher=settings.data_key)
    return Services(
        settings=settings,
        store=store,
        sessions=Sessions(store, settings.session_lifetime),
        runner=Runner(settings, store, HttpClient(ca_file=settings.ca_file)),
    )


def services() -> Services:
    """That of the application which serves this request."""
    return cast("Services", current_app.extensions["rolecall_client"])
