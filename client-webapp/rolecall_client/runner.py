"""Runs flows: sends each message, hands its answer to its step, and waits in Redis for the browser to come back."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from typing import Any, Final

from rolecall.http import HttpClient, HttpResponse
from rolecall.storage import Store, digest
from rolecall_client.flow import Context, Flow, Message, Refused
from rolecall_client.flows import FLOWS
from rolecall_client.issuer import AuthorizationServer
from rolecall_client.settings import Settings

POSTED_LIFETIME: Final = 60
"""Seconds that an answer which came as a form waits for the browser's next request."""


class Runner:
    """One for the life of a process. Whoever wraps the application may add to its `flows`."""

    def __init__(self, settings: Settings, store: Store, http: HttpClient) -> None:
        self.flows: dict[str, Flow] = dict(FLOWS)
        self._settings = settings
        self._store = store
        self._http = http
        self._server = AuthorizationServer(settings, http)

    def start(self, name: str, browser: str, **memory: Any) -> str:
        """Begin a flow that leads through the browser; gives the address to send the browser to.

        Raises:
            Unreachable: the authorization server does not answer.
        """
        address = self._go_on(name, 0, self._context(dict(memory), {}), browser)
        assert address is not None, "this flow leads through the browser"
        return address

    def resume(self, browser: str, answer: Mapping[str, str]) -> tuple[str, Context, str | None]:
        """Go on with the flow whose `state` the answer names.

        Gives its name, what it has come to, and where to send the browser next, if it leads through it once more.

        An answer that came as a form was kept before, and waits under its `state`.

        Raises:
            Refused: it is no answer to a request of this browser, or one of the steps failed.
            Unreachable: somebody does not answer.
        """
        state = answer.get("state", "")
        waiting = self._store.get("flow", state)
        mine = waiting is not None and hmac.compare_digest(waiting["browser"], digest(browser))
        if not mine or (waiting := self._store.take("flow", state)) is None:
            raise Refused("unknown_state", "no flow of this browser waits for this answer")
        if posted := self._store.take("posted", state):
            answer = posted["answer"]
        name, step = waiting["flow"], waiting["step"]
        # one that began before this version has none
        context = self._context(waiting["memory"], waiting.get("tokens", {}))
        self.flows[name].steps[step].handle(context, answer)
        return name, context, self._go_on(name, step + 1, context, browser)

    def keep_answer(self, answer: Mapping[str, str]) -> None:
        """Keep what a browser brought in a form until it comes back with its cookie (Form Post section 2).

        Raises:
            Refused: nobody waits for it; whoever posts just anything shall fill no memory.
        """
        state = answer.get("state", "")
        if self._store.get("flow", state) is None:
            raise Refused("unknown_state", "no flow waits for this answer")
        self._store.put("posted", state, {"answer": dict(answer)}, POSTED_LIFETIME)

    def run(self, name: str, tokens: dict[str, Any], **memory: Any) -> Context:
        """Run a flow without the browser, on the tokens at hand.

        Raises:
            Refused: a step failed.
            Unreachable: somebody does not answer.
        """
        context = self._context(dict(memory), tokens)
        self._advance(name, 0, context)
        return context

    def _context(self, memory: dict[str, Any], tokens: dict[str, Any]) -> Context:
        return Context(self._settings, self._server.metadata, self._server.key, memory, tokens)

    def _go_on(self, name: str, position: int, context: Context, browser: str) -> str | None:
        """Send what can be sent; where to send the browser when it is its turn, and the flow waits for it."""
        reached = self._advance(name, position, context)
        if reached is None:
            return None
        step, message = reached
        value = {"flow": name, "step": step, "memory": context.memory, "tokens": context.tokens}
        value["browser"] = digest(browser)
        self._store.put("flow", context.memory["state"], value, self._settings.flow_lifetime)
        return message.address

    def _advance(self, name: str, position: int, context: Context) -> tuple[int, Message] | None:
        """Send message after message until one must go through the browser: its step's number and it."""
        for number, step in enumerate(self.flows[name].steps[position:], position):
            message = step.build(context)
            if message.channel == "front":
                return number, message
            step.handle(context, self._sent(message))
        return None

    def _sent(self, message: Message) -> HttpResponse:
        if message.json is None:
            return self._http.send(message.method, message.url, headers=message.headers, form=message.form)
        headers = {**message.headers, "Content-Type": "application/json"}
        return self._http.send(message.method, message.url, headers=headers, body=json.dumps(message.json).encode())
