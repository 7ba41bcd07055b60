"""The last run of each flow in a browser: what it sent, and what really came (none: the lab's)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import wraps
from itertools import zip_longest
from typing import Any, Final, Literal, TypedDict

from flask import current_app

from rolecall import clock, trace
from rolecall.http import Answer, Unreachable
from rolecall_client.flow import Context, Flow, FlowError, Message, Step, json_object
from rolecall_client.services import services
from rolecall_lab.catalog.entries import ENTRIES
from rolecall_lab.catalog.entry import CODE, NO_ANSWER, Entry

MAX_TEXT: Final = 300
"""Characters of what another party said."""

Verdict = Literal["waiting", "expected", "otherwise"]


class Sent(TypedDict):
    """A message of a run: which way it went, to where (without the query), what came, and what that says."""

    channel: str
    method: str
    address: str
    came: str
    says: str


class Run(TypedDict):
    """A run: when it began (seconds, the lab's clock), the id of its last request, and its messages."""

    at: float
    trace: str
    sent: list[Sent]


def watched(flow: Flow) -> Flow:
    """The same flow, whose runs are kept for its page; nothing else about it changes."""
    last = flow.steps[-1]
    return replace(flow, steps=tuple(_watched(flow.name, step, is_last=step is last) for step in flow.steps))


def runs() -> dict[str, Run]:
    """The last runs of this browser, by the entry's name."""
    store = services().store
    kept: Mapping[bytes, bytes] = store.client.hgetall(_key())  # type: ignore[assignment]
    loaded = {name.decode(): store.load(raw) for name, raw in kept.items()}
    return {
        name: Run(at=run["at"], trace=run["trace"], sent=run["sent"]) for name, run in loaded.items() if run is not None
    }


def verdict(entry: Entry, run: Run) -> Verdict:
    """Whether what came is what had to come."""
    came = tuple(sent["came"] for sent in run["sent"])
    if came == entry.expected:
        return "expected"
    is_away = run["sent"][-1]["channel"] == "front" and came[-1] == NO_ANSWER
    return "waiting" if is_away else "otherwise"


def told(entry: Entry, run: Run | None) -> list[tuple[str, str | None, Sent | None]]:
    """Message by message: the step's name, what has to come of it and what was sent; None where there is none."""
    sent = run["sent"] if run else []
    names = [step.name for step in entry.flow.steps]
    return [(name, expected, each) for name, expected, each in zip_longest(names, entry.expected, sent) if name]


def _watched(flow: str, step: Step, *, is_last: bool) -> Step:
    @wraps(step.build)
    def build(context: Context) -> Message:
        message = step.build(context)
        if _is_watched(context):
            run: Run = context.memory.setdefault("run", Run(at=clock.now(), trace="", sent=[]))
            address = message.url.partition("?")[0]
            sent = Sent(channel=message.channel, method=message.method, address=address, came=NO_ANSWER, says="")
            run["sent"].append(sent)
            _keep(flow, run, context)
        return message

    @wraps(step.handle)
    def handle(context: Context, answer: Any) -> None:
        refusal = None
        try:
            step.handle(context, answer)
        except FlowError as error:
            refusal = error
            raise
        finally:
            if run := context.memory.get("run"):
                came, says = (_of_server if isinstance(answer, Answer) else _of_browser)(answer, refusal)
                run["sent"][-1] |= {"came": came[:MAX_TEXT], "says": says[:MAX_TEXT]}
                _keep(flow, run, context)
                entry = ENTRIES.get(_name(flow, context))
                if entry and entry.start is None and (refusal or is_last):
                    _give_back(context)

    return replace(step, build=build, handle=handle)


def _is_watched(context: Context) -> bool:
    """Not in an application without the catalogue, nor when a flow only tidies up after another."""
    return "catalogue" in current_app.blueprints and not context.memory.get("unwatched")


def _of_server(answer: Answer, refusal: FlowError | None) -> tuple[str, str]:
    """Status and error code of an answer, and what it says about it (RFC 6749 section 5.2, RFC 6750 section 3).

    Of a good answer that the client does not believe: why it goes no further.
    """
    if refusal and answer.status == 200:
        return refusal.error, refusal.detail
    body = json_object(answer)
    says = body.get("error_description") or answer.headers.get("www-authenticate", "")
    return f"{answer.status} {body.get('error', '')}".strip(), str(says)


def _of_browser(answer: Mapping[str, str], refusal: FlowError | None) -> tuple[str, str]:
    """What the browser brought: a code, or why the client went no further (RFC 6749 section 4.1.2)."""
    return refusal.error if refusal else CODE, answer.get("error_description", "")


def _name(flow: str, context: Context) -> str:
    """The entry of a run: a flow that can be asked for in several ways has one for each."""
    name = f"{flow}_{context.memory.get('validator') or context.memory.get('again')}"
    return name if name in ENTRIES else flow


def _keep(flow: str, run: Run, context: Context) -> None:
    run["trace"] = trace.current() or ""
    store, lifetime = services().store, services().settings.session_lifetime
    # not by `put`: that would be a change of state in the flow's picture
    pipeline = store.client.pipeline(transaction=False)
    pipeline.hset(_key(), _name(flow, context), store.dump(dict(run)))
    pipeline.expire(_key(), store.bin_seconds(lifetime))
    pipeline.execute()


def _key() -> str:
    return services().store.key("runs", services().sessions.browser())


def _give_back(context: Context) -> None:
    """What a flow of the lab was given for itself nobody will hold; should it live on, it ends by itself."""
    if context.tokens:
        with suppress(FlowError, Unreachable):
            services().runner.run("disconnect", context.tokens, unwatched=True)
