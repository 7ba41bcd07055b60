"""Runs flows: sends each message, hands its answer to its step, and waits in Redis for the browser to come back."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

from client_webapp.flow import Context, Flow, Message, Refused
from client_webapp.flows import FLOWS
from client_webapp.server import AuthorizationServer
from client_webapp.settings import Settings
from rolecall.http import HttpClient
from rolecall.storage import Store, digest


class Runner:
    """One for the life of a process. Whoever wraps the application may add to its `flows`."""

    def __init__(self, settings: Settings, store: Store, http: HttpClient) -> None:
        self.flows: dict[str, Flow] = dict(FLOWS)
        self._settings = settings
        self._store = store
        self._http = http
        self._server = AuthorizationServer(settings, http)

    def start(self, name: str, browser: str) -> str:
        """Begin a flow that leads through the browser; gives the address to send the browser to.

        Raises:
            Unreachable: the authorization server does not answer.
        """
        context = Context(self._settings, self._server.metadata(), {}, {})
        reached = self._advance(name, 0, context)
        assert reached is not None, "this flow leads through the browser"
        position, message = reached
        value = {"flow": name, "step": position, "memory": context.memory, "browser": digest(browser)}
        self._store.put("flow", context.memory["state"], value, self._settings.flow_lifetime)
        return message.address

    def resume(self, browser: str, answer: Mapping[str, str]) -> dict[str, Any]:
        """Go on with the flow whose `state` the answer names; gives the tokens.

        Raises:
            Refused: it is no answer to a request of this browser, or one of the steps failed.
            Unreachable: somebody does not answer.
        """
        state = answer.get("state", "")
        waiting = self._store.get("flow", state)
        mine = waiting is not None and hmac.compare_digest(waiting["browser"], digest(browser))
        if not mine or (waiting := self._store.take("flow", state)) is None:
            raise Refused("unknown_state", "no flow of this browser waits for this answer")
        context = Context(self._settings, self._server.metadata(), waiting["memory"], {})
        self.flows[waiting["flow"]].steps[waiting["step"]].handle(context, answer)
        self._advance(waiting["flow"], waiting["step"] + 1, context)
        return context.tokens

    def run(self, name: str, tokens: dict[str, Any], **memory: Any) -> Context:
        """Run a flow without the browser, on the tokens at hand.

        Raises:
            Refused: a step failed.
            Unreachable: somebody does not answer.
        """
        context = Context(self._settings, self._server.metadata(), dict(memory), tokens)
        self._advance(name, 0, context)
        return context

    def _advance(self, name: str, position: int, context: Context) -> tuple[int, Message] | None:
        """Send message after message until one must go through the browser: its step's number and it."""
        for number, step in enumerate(self.flows[name].steps[position:], position):
            message = step.build(context)
            if message.channel == "front":
                return number, message
            step.handle(
                context, self._http.send(message.method, message.url, headers=message.headers, form=message.form)
            )
        return None
