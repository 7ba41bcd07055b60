"""An authorization request that waits for its person, bound to the browser that made it."""

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
    "This request is no longer waiting",
    "It was answered already, it took too long, or it was opened in another browser. "
    "Nothing was given to the app. Go back to the app and start again.",
    (("Connected apps", "/apps"),),
)
"""What the person is told who comes back to a request that is gone."""


@dataclass(frozen=True, slots=True)
class Interaction:
    """A request whose parameters passed the guard.

    `decision` is allow or deny once `decided_by` (a user) gave it, at `decided_at`; `asked_at` is when the request came
    (seconds since the epoch), and `chosen` the user who was picked where the client wants a choice.
    """

    parameters: dict[str, str]
    asked_at: float
    decision: str | None = None
    decided_by: str | None = None
    decided_at: float | None = None
    chosen: str | None = None


class Interactions:
    """Waiting requests, by a secret that stands in the address of the pages. Several tabs have one each."""

    def __init__(self, store: Store, lifetime: int) -> None:
        self._store = store
        self._lifetime = lifetime

    def put(self, parameters: dict[str, str]) -> str:
        """Keep a request; gives its secret name."""
        name = new_secret()
        self._put(name, Interaction(parameters, clock.now()))
        return name

    def put_for_any_browser(self, parameters: dict[str, str]) -> str:
        """Keep a request that a form of another site brought, without a cookie; who opens its name first has it.

        No cookie is set meanwhile: it would take the place of the person's own, which such a form does not bring.
        """
        name = new_secret()
        value = {**asdict(Interaction(parameters, clock.now())), "browser": ""}
        self._store.put("interaction", name, value, self._lifetime)
        return name

    def get(self, name: str) -> Interaction | None:
        """The request, when it waits for this browser, or for any."""
        entry = self._store.get("interaction", name)
        if entry is not None and entry["browser"] == "":
            interaction = Interaction(entry["parameters"], entry["asked_at"])
            self._put(name, interaction)
            return interaction
        return self._of(entry)

    def decide(self, name: str, interaction: Interaction, user_id: str, decision: str) -> None:
        """Note what the person decided; /authorize takes it from there."""
        self._put(name, replace(interaction, decision=decision, decided_by=user_id, decided_at=clock.now()))

    def choose(self, name: str, interaction: Interaction, user_id: str) -> None:
        """Note which account the person goes on with."""
        self._put(name, replace(interaction, chosen=user_id))

    def take(self, name: str) -> Interaction | None:
        """The request, and it is gone: it is answered once."""
        return self._of(self._store.take("interaction", name))

    def _put(self, name: str, interaction: Interaction) -> None:
        if "browser" not in cookie:
            cookie["browser"] = new_secret()
        value = {**asdict(interaction), "browser": digest(cookie["browser"])}
        self._store.put("interaction", name, value, self._lifetime)

    def _of(self, entry: dict[str, Any] | None) -> Interaction | None:
        if (
            entry is None
            or "asked_at" not in entry
            or not hmac.compare_digest(str(entry["browser"]), digest(cookie.get("browser", "")))
        ):
            return None
        return Interaction(**{each.name: entry[each.name] for each in fields(Interaction)})
