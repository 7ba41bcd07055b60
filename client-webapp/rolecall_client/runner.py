"""The runner of flows, which sends messages, calls handlers, and stores flows in Redis while the browser is away."""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Mapping
from typing import Any, Final

from rolecall.http import HttpClient, HttpResponse
from rolecall.storage import Store, compact_json, digest
from rolecall.web.cookies import BrowserSecrets
from rolecall_client.flow import Context, Flow, FlowError, Message
from rolecall_client.flows import FLOWS
from rolecall_client.flows.authorization_code import STATE
from rolecall_client.issuer import AuthorizationServer
from rolecall_client.registration import Registration
from rolecall_client.session import Allowance
from rolecall_client.settings import Settings

POSTED_LIFETIME: Final = 60
"""Seconds for which an authorization response sent as a form is stored, until the browser follows the redirect."""

MAX_POSTED: Final = 4096
"""Maximum size of such a response, in bytes of JSON."""


class Runner:
    """The runner of the flows in `flows`, to which wrappers of the application may add.

    A flow that waits for the browser is bound to it by a secret in a cookie.
    """

    def __init__(self, settings: Settings, store: Store, http: HttpClient, allowance: Allowance) -> None:
        self.flows: dict[str, Flow] = dict(FLOWS)
        self._settings = settings
        self._store = store
        self._http = http
        self._allowance = allowance
        self._server = AuthorizationServer(settings, http)
        self.registration = Registration(settings, store, http, self._server)
        self._browser = BrowserSecrets("flow", settings.flow_lifetime)

    def start(self, name: str, **memory: Any) -> str:
        """Start a flow that uses the browser, and return the URL to which to redirect it.

        Raises:
            Unreachable: the authorization server did not respond.
            TooMany: this address, or callers who are not signed in, have too many unfinished flows.
        """
        self.registration.check()
        url = self._continue(name, 0, self._context(dict(memory), {}))
        assert url is not None, "the flow uses the browser"
        return url

    def resume(self, response: Mapping[str, str]) -> tuple[str, Context, str | None]:
        """Continue the flow that waits for this authorization response, identified by its `state`.

        A response that was sent as a form is taken from the store (see `store_response`).

        Returns:
            The flow's name, its context, and the URL to which to redirect the browser, or None if the flow has ended.

        Raises:
            FlowError: no flow of this browser waits for the response, or a step failed.
            Unreachable: a server did not respond.
            TooMany: too many flows of this address have continued.
        """
        state = response.get("state", "")
        waiting, secret = self._store.get("flow", state), self._browser.get(state)
        is_bound = waiting and secret is not None and hmac.compare_digest(waiting["browser"], digest(secret))
        if not is_bound or (waiting := self._store.take("flow", state)) is None:
            raise _unknown_state()
        self._browser.delete(state)
        if posted := self._store.take("posted", state):
            response = posted["answer"]
        self._allowance.count_session()
        name, step = waiting["flow"], waiting["step"]
        # a flow stored by an older version has no tokens
        context = self._context(waiting["memory"], waiting.get("tokens", {}))
        self.flows[name].steps[step].handle(context, response)
        return name, context, self._continue(name, step + 1, context)

    def store_response(self, response: Mapping[str, str]) -> None:
        """Store a response that was sent as a form, until the browser comes back with its cookie (Form Post section 2).

        Raises:
            FlowError: no flow waits for it, or it is too long; other responses are not stored.
            TooMany: this address, or callers who are not signed in, have stored too much.
        """
        state = response.get("state", "")
        if self._store.get("flow", state) is None:
            raise _unknown_state()
        entry = {"answer": dict(response)}
        if (size := len(compact_json(entry))) > MAX_POSTED:
            raise FlowError("too_long", f"the response has {size} bytes")
        self._allowance.spend(self._store.cost(entry))
        self._store.put("posted", state, entry, POSTED_LIFETIME)

    def run(self, name: str, tokens: dict[str, Any], **memory: Any) -> Context:
        """Run a flow that does not use the browser on existing tokens.

        Raises:
            FlowError: a step failed.
            Unreachable: a server did not respond.
        """
        context = self._context(dict(memory), tokens)
        self._advance(name, 0, context)
        return context

    def _context(self, memory: dict[str, Any], tokens: dict[str, Any]) -> Context:
        settings = self.registration.settings(memory.get("client_id"))
        if memory.setdefault("client_id", settings.client_id) != settings.client_id:
            raise FlowError("earlier_registration", "the client has registered again since the flow began")
        return Context(settings, self._server.metadata, self._server.key, memory, tokens)

    def _continue(self, name: str, position: int, context: Context) -> str | None:
        """Run the flow until it needs the browser; then store it and return the URL to which to redirect."""
        reached = self._advance(name, position, context)
        if reached is None:
            return None
        step, message = reached
        state, secret = context.memory["state"], secrets.token_urlsafe(32)
        waiting = {"flow": name, "step": step, "memory": context.memory, "tokens": context.tokens}
        waiting["browser"] = digest(secret)
        self._allowance.spend(self._store.cost(waiting))
        self._store.put("flow", state, waiting, self._settings.flow_lifetime)
        self._browser.put(state, secret)
        return message.redirect_url

    def _advance(self, name: str, position: int, context: Context) -> tuple[int, Message] | None:
        """Run steps until one needs the browser; return its number and message, or None at the end of the flow."""
        for number, step in enumerate(self.flows[name].steps[position:], position):
            message = step.build(context)
            if message is None:
                continue
            if message.channel == "front":
                return number, message
            response = self._send(message)
            try:
                step.handle(context, response)
            except FlowError as error:
                # only from the server itself: a browser can send an authorization response with any error
                if error.error == "invalid_client":
                    self.registration.reject(context.client_id)
                raise
        return None

    def _send(self, message: Message) -> HttpResponse:
        if message.json is None:
            return self._http.send(message.method, message.url, headers=message.headers, form=message.form)
        headers = {**message.headers, "Content-Type": "application/json"}
        return self._http.send(message.method, message.url, headers=headers, body=json.dumps(message.json).encode())


def _unknown_state() -> FlowError:
    STATE.note(False, expected="the state of a request that this browser has started", actual="another or none")
    return FlowError("unknown_state", "no flow in this browser is waiting for this response")
