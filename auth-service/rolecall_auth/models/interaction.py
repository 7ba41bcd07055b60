"""Pending authorization requests, each bound to the browser that made it."""

from __future__ import annotations

import hmac
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final

from rolecall import clock, events
from rolecall.storage import Store, abbreviated_key, digest
from rolecall.web.cookies import BrowserSecrets
from rolecall.web.errors import Problem
from rolecall_auth.models import new_secret
from rolecall_auth.models.authorization import Approved

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

    `asked_at` is when the request arrived. `shown` is what the consent page last showed. `decision` is `allow` or
    `deny`, made by the user `decided_by` at `decided_at`. `chosen` is the user that was selected if the client requires
    the selection of an account.
    """

    parameters: dict[str, str]
    asked_at: float
    decision: str | None = None
    decided_by: str | None = None
    decided_at: float | None = None
    chosen: str | None = None
    shown: Approved | None = None


# KEYS: the request. ARGV: its new value, the digest of the browser, seconds. Returns whether the request still exists;
# one that another tab has completed is not stored again.
_UPDATE: Final = """
local raw = redis.call('GET', KEYS[1])
local browser = raw and cjson.decode(raw).browser
if browser ~= '' and browser ~= ARGV[2] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[3])
return 1
"""


class Interactions:
    """Pending requests, under a secret name that is part of the pages' URLs. Each tab has its own request.

    A request is bound to its browser by a second secret, which is in a cookie.
    """

    def __init__(self, store: Store, lifetime: int) -> None:
        self._store = store
        self._lifetime = lifetime
        self._browser = BrowserSecrets("request", lifetime)
        self._script = store.client.register_script(_UPDATE)

    def put(self, parameters: dict[str, str]) -> str:
        """Store a request, and return its secret name."""
        name, secret = new_secret(), new_secret()
        value = {**asdict(Interaction(parameters, clock.now())), "browser": digest(secret)}
        self._store.put("interaction", name, value, self._lifetime)
        self._browser.put(name, secret)
        return name

    def put_for_any_browser(self, parameters: dict[str, str]) -> str:
        """Store a request from a form on another site; it belongs to the first browser that uses its name.

        The browser sends no cookies with such a form, so their number cannot be limited in the response.
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
            return interaction if self._update(name, interaction) else None
        return self._own(name, entry)

    def show(self, name: str, interaction: Interaction, request: Approved) -> None:
        """Store what the consent page shows, and forget an earlier decision."""
        if interaction.shown != request or interaction.decision is not None:
            self._update(name, replace(interaction, shown=request, decision=None, decided_by=None, decided_at=None))

    def decide(self, name: str, interaction: Interaction, user_id: str, decision: str) -> bool:
        """Store the person's decision, which /authorize then acts on.

        Returns:
            False if the request has been completed in the meantime.
        """
        decided = replace(interaction, decision=decision, decided_by=user_id, decided_at=clock.now())
        return self._update(name, decided)

    def choose(self, name: str, interaction: Interaction, user_id: str) -> None:
        """Store which account the person selected."""
        self._update(name, replace(interaction, chosen=user_id))

    def take(self, name: str) -> Interaction | None:
        """Return the request and delete it atomically, so that it gets only one response."""
        taken = self._own(name, self._store.take("interaction", name))
        if taken is not None:
            self._browser.delete(name)
        return taken

    def _update(self, name: str, interaction: Interaction) -> bool:
        """Replace a request atomically, bind it to this browser, and return whether it still exists."""
        secret = self._browser.get(name) or new_secret()
        value = {**asdict(interaction), "browser": digest(secret)}
        raw = self._store.dump({**value, "expires_at": clock.now() + self._lifetime})
        key = self._store.key("interaction", name)
        exists = bool(self._script(keys=[key], args=[raw, value["browser"], self._store.redis_ttl(self._lifetime)]))
        events.note("state", store="redis", key=abbreviated_key(key), change="set", seconds=self._lifetime)
        if exists:
            self._browser.put(name, secret)
        return exists

    def _own(self, name: str, entry: dict[str, Any] | None) -> Interaction | None:
        """Return the request if it is bound to this browser."""
        if (
            entry is None
            or "asked_at" not in entry
            or not hmac.compare_digest(str(entry["browser"]), digest(self._browser.get(name) or ""))
        ):
            return None
        known: dict[str, Any] = {each.name: entry.get(each.name) for each in fields(Interaction)}
        return Interaction(**known)
