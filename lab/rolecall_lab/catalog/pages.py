"""The catalogue's pages in the client: the list, a page for each flow, the start of one (none: the lab's)."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import urlsplit

from flask import abort, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from rolecall import clock
from rolecall.web import allow_form_targets
from rolecall_client import pages as product
from rolecall_client.errors import with_error_pages
from rolecall_client.flow import FlowError
from rolecall_client.services import services
from rolecall_client.times import moment
from rolecall_lab.catalog.entries import ENTRIES, GROUPS
from rolecall_lab.catalog.entry import CODE, NO_ANSWER, Entry, file_of
from rolecall_lab.catalog.runs import runs, told, verdict


def flows() -> ResponseReturnValue:
    """GET /flows: every flow, in groups, with how its last run ended."""
    done = runs()
    verdicts = {name: verdict(ENTRIES[name], run) for name, run in done.items() if name in ENTRIES}
    return _page("catalogue/flows.html", groups=GROUPS, verdicts=verdicts)


def flow(name: str) -> ResponseReturnValue:
    """GET /flows/<name>: what it is, what came of it, how it differs from the plain flow, its source."""
    entry = _entry(name)
    run, now = runs().get(name), clock.now()
    return _page(
        "catalogue/flow.html",
        entry=entry,
        run=run,
        verdict=verdict(entry, run) if run else None,
        messages=told(entry, run),
        began=moment(run["at"], now) if run else "",
        plain=file_of(entry.plain),
    )


def start(name: str) -> ResponseReturnValue:
    """POST /flows/<name>/start: run it, as the client does where the flow is its own."""
    entry = _entry(name)
    return entry.start() if entry.start else with_error_pages(lambda: _run(entry))()


def callback() -> ResponseReturnValue:
    """GET /callback: the answer to a flow of the lab ends on its page; any other is the product's."""
    entry = _waiting()
    return with_error_pages(lambda: _resume(entry))() if entry else product.callback()


def _run(entry: Entry) -> ResponseReturnValue:
    if entry.leads_through_the_browser:
        return redirect(services().runner.start(entry.flow.name, services().sessions.browser()), 303)
    with suppress(FlowError):
        services().runner.run(entry.flow.name, {})
    return _to_page(entry)


def _resume(entry: Entry) -> ResponseReturnValue:
    try:
        *_, further = services().runner.resume(services().sessions.browser(), request.args)
    except FlowError as error:
        if error.error == "unknown_state":
            raise
        further = None
    return redirect(further, 303) if further else _to_page(entry)


def _waiting() -> Entry | None:
    """The lab's flow that waits for this answer, if one does; an answer with anything twice is for the product."""
    if any(len(values) > 1 for _, values in request.args.lists()):
        return None
    waiting = services().store.get("flow", request.args.get("state", ""))
    entry = ENTRIES.get(waiting["flow"]) if waiting else None
    return entry if entry and entry.start is None else None


def _entry(name: str) -> Entry:
    return ENTRIES.get(name) or abort(404)


def _to_page(entry: Entry) -> ResponseReturnValue:
    return redirect(url_for("catalogue.flow", name=entry.name, _anchor="came"), 303)


def _page(template: str, **values: object) -> ResponseReturnValue:
    sessions = services().sessions
    # what a flow may need, and what there is of it
    there = {"": True, "connection": sessions.tokens() is not None, "sign-in": sessions.user() is not None}
    response = make_response(render_template(template, there=there, CODE=CODE, NO_ANSWER=NO_ANSWER, **values))
    # the start of most flows leads to the authorization server, and from there back to us
    issuer = urlsplit(services().settings.issuer)
    allow_form_targets(response, f"{issuer.scheme}://{issuer.netloc}")
    return response
