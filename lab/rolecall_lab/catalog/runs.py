"""The last run of each flow in a browser: the messages it sent and their outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import wraps
from itertools import zip_longest
from typing import Any, Final, Literal, TypedDict

from flask import g, request

from rolecall import clock, trace
from rolecall.http import HttpResponse, Unreachable
from rolecall_client.flow import Context, Flow, FlowError, Message, Step, json_object
from rolecall_client.services import services
from rolecall_lab.catalog.entries import ENTRIES
from rolecall_lab.catalog.entry import CODE, NO_RESPONSE, Entry
from rolecall_lab.visitor import visitor

MAX_TEXT: Final = 300
"""The maximum length of a text from another party, in characters."""

Verdict = Literal["waiting", "expected", "unexpected"]


class SentMessage(TypedDict):
    """A message of a run; `address` is its URL without the query, `description` what the response says about it."""

    channel: str
    method: str
    address: str
    outcome: str
    description: str


class Run(TypedDict):
    """A run: its start in seconds of the lab's clock, the id of its last request, and its messages."""

    at: float
    trace: str
    messages: list[SentMessage]


def watched(flow: Flow) -> Flow:
    """Return the same flow, which also stores each run that the catalog starts, for the catalog's pages."""
    last = flow.steps[-1]
    return replace(flow, steps=tuple(_watched(flow.name, step, is_last=step is last) for step in flow.steps))


def start_run(entry: Entry) -> None:
    """Let the flow of this entry store its run if it starts during this request."""
    g.started_entry = entry.name


def runs() -> dict[str, Run]:
    """Return this browser's last runs by the name of the entry."""
    store = services().store
    stored: Mapping[bytes, bytes] = store.client.hgetall(_key())  # type: ignore[assignment]
    loaded = {name.decode(): store.load(raw) for name, raw in stored.items()}
    return {
        name: Run(at=run["at"], trace=run["trace"], messages=run["messages"])
        for name, run in loaded.items()
        # a lab of an earlier version stored other members
        if run is not None and "messages" in run
    }


def verdict(entry: Entry, run: Run) -> Verdict:
    """Compare the outcomes of a run with the expected ones."""
    outcomes = tuple(message["outcome"] for message in run["messages"])
    if outcomes == entry.expected:
        return "expected"
    is_waiting = run["messages"][-1]["channel"] == "front" and outcomes[-1] == NO_RESPONSE
    return "waiting" if is_waiting else "unexpected"


def outcome_rows(entry: Entry, run: Run | None) -> list[tuple[str, str | None, SentMessage | None]]:
    """Return each step's name, its expected outcome, and its message, if any."""
    messages = run["messages"] if run else []
    names = [step.name for step in entry.flow.steps]
    rows = zip_longest(names, entry.expected, messages)
    return [(name, expected, message) for name, expected, message in rows if name]


def _watched(flow: str, step: Step, *, is_last: bool) -> Step:
    @wraps(step.build)
    def build(context: Context) -> Message | None:
        message = step.build(context)
        if message is not None and ("run" in context.memory or _is_started(flow, context)):
            run: Run = context.memory.setdefault("run", Run(at=clock.now(), trace="", messages=[]))
            run["messages"].append(
                SentMessage(
                    channel=message.channel,
                    method=message.method,
                    address=message.url.partition("?")[0],
                    outcome=NO_RESPONSE,
                    description="",
                )
            )
            _store(flow, run, context)
        return message

    @wraps(step.handle)
    def handle(context: Context, response: Any) -> None:
        refusal = None
        try:
            step.handle(context, response)
        except FlowError as error:
            refusal = error
            raise
        finally:
            if run := context.memory.get("run"):
                describe = _server_outcome if isinstance(response, HttpResponse) else _browser_outcome
                outcome, description = describe(response, refusal)
                run["messages"][-1] |= {"outcome": outcome[:MAX_TEXT], "description": description[:MAX_TEXT]}
                _store(flow, run, context)
                entry = ENTRIES.get(_entry_name(flow, context))
                if entry and entry.start is None and entry.own_flow is None and (refusal or is_last):
                    _revoke_tokens(context)

    return replace(step, build=build, handle=handle)


def _is_started(flow: str, context: Context) -> bool:
    """Return whether the catalog starts the flow: not a page of Tally, and not another flow that cleans up."""
    started = g.get("started_entry") or request.args.get("run")
    return started is not None and started == _entry_name(flow, context)


def _server_outcome(response: HttpResponse, refusal: FlowError | None) -> tuple[str, str]:
    """Return a response's status and error code, and its description (RFC 6749 section 5.2, RFC 6750 section 3).

    For a successful response that the client rejects, return the client's error and its reason.
    """
    if refusal and response.status == 200:
        return refusal.error, refusal.detail
    body = json_object(response)
    description = body.get("error_description") or response.headers.get("www-authenticate", "")
    return f"{response.status} {body.get('error', '')}".strip(), str(description)


def _browser_outcome(response: Mapping[str, str], refusal: FlowError | None) -> tuple[str, str]:
    """Return `CODE` or the error of an authorization response, and its description (RFC 6749 section 4.1.2)."""
    return refusal.error if refusal else CODE, response.get("error_description", "")


def _entry_name(flow: str, context: Context) -> str:
    """Return the entry of a run; a flow that can be started in several ways has one for each."""
    name = f"{flow}_{context.memory.get('validator') or context.memory.get('again')}"
    return name if name in ENTRIES else flow


def _store(flow: str, run: Run, context: Context) -> None:
    run["trace"] = trace.current() or ""
    store, lifetime = services().store, services().settings.session_lifetime
    # `put` would record a change of state, which would appear in the flow's picture
    pipeline = store.client.pipeline(transaction=False)
    pipeline.hset(_key(), _entry_name(flow, context), store.dump(dict(run)))
    pipeline.expire(_key(), store.redis_ttl(lifetime))
    pipeline.execute()


def _key() -> str:
    return services().store.key("runs", visitor())


def _revoke_tokens(context: Context) -> None:
    """Revoke the tokens of a lab flow, which are of no further use; if this fails, they expire by themselves."""
    if context.tokens:
        with suppress(FlowError, Unreachable):
            services().runner.run("disconnect", context.tokens)
