"""Pending authorization requests, each bound to the browser that made it."""

from __future__ import annotations

import hmac
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final

from flask import session as cookie

from rolecall import clock
from rolecall.storage import Store, digest
from rolecall.web.errors import Problem
from rolecall_auth.models import new_secret

LOST: Final = Problem(
    400,
    "This request is no longer valid",
    "It was already completed, it has expired, or it was opened in another browser. "
    "The app has not been given access. Go back to the app and start again.",
    (("Connected apps", "/apps"),),
)
"""The error page for a request that is no longer pending in this browser."""


@dataclass(frozen=True, slots=True)
class Interaction:
    """A request with validated parameters; times are in seconds since the epoch.

    `asked_at` is when the request arrived. `decision` is `allow` or `deny`, made by the user `decided_by` at
    `decided_at`. `chosen` is the user that was selected if the client requested the selection of an account.
    """

    parameters: dict[str, str]
    asked_at: float
    decision: str | None = None
    decided_by: str | None = None
    decided_at: float | None = None
    chosen: str | None = None


class Interactions:
    """Pending requests, under a secret name that is part of the pages' URLs. Each tab has its own request."""

    def __init__(self, store: Store, lifetime: int) -> None:
        self._store = store
        self._lifetime = lifetime

    def put(self, parameters: dict[str, str]) -> str:
        """Store a request, and return its secret name."""
        name = new_secret()
        self._put(name, Interaction(parameters, clock.now()))
        return name

    def put_for_any_browser(self, parameters: dict[str, str]) -> str:
        """Store a request from a form on another site; the first browser that opens its name owns it.

        The browser sends no cookie with such a form. Setting one here would replace the cookie that it has.
        """
        name = new_secret()
        value = {**asdict(Interaction(parameters, clock.now())), "browser": ""}
        self._store.put("interaction", name, value, self._lifetime)
        return name

    def get(self, name: str) -> Interaction | None:
        """Return the request if it is bound to this browser; bind it first if it is not bound yet."""
        entry = self._store.get("interaction", name)
        if entry is not None and entry["browser"] == "":
            interaction = Interaction(entry["parameters"], entry["asked_at"])
            self._put(name, interaction)
            return interaction
        return self._own(entry)

    def decide(self, name: str, interaction: Interaction, user_id: str, decision: str) -> None:
        """Store the person's decision, which /authorize then acts on."""
        self._put(name, replace(interaction, decision=decision, decided_by=user_id, decided_at=clock.now()))

    def choose(self, name: str, interaction: Interaction, user_id: str) -> None:
        """Store which account the person selected."""
        self._put(name, replace(interaction, chosen=user_id))

    def take(self, name: str) -> Interaction | None:
        """Return the request and delete it atomically, so that it gets only one response."""
        return self._own(self._store.take("interaction", name))

    def _put(self, name: str, interaction: Interaction) -> None:
        if "browser" not in cookie:
            cookie["browser"] = new_secret()
        value = {**asdict(interaction), "browser": digest(cookie["browser"])}
        self._store.put("interaction", name, value, self._lifetime)

    def _own(self, entry: dict[str, Any] | None) -> Interaction | None:
        """Return the request if it is bound to this browser."""
        if (
            entry is None
            or "asked_at" not in entry
            or not hmac.compare_digest(str(entry["browser"]), digest(cookie.get("browser", "")))
        ):
            return None
        return Interaction(**{each.name: entry[each.name] for each in fields(Interaction)})
