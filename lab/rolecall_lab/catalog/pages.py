"""The catalog's pages in the client: the list of flows, a page for each flow, and the view that starts a flow."""

from __future__ import annotations

from contextlib import suppress

from flask import abort, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from rolecall import clock
from rolecall.web.headers import let_forms_leave
from rolecall_client import pages as client_pages
from rolecall_client.errors import with_error_pages
from rolecall_client.flow import FlowError
from rolecall_client.services import services
from rolecall_client.times import moment
from rolecall_lab.catalog.entries import ENTRIES, GROUPS
from rolecall_lab.catalog.entry import CODE, NO_RESPONSE, Entry, file_name
from rolecall_lab.catalog.runs import outcome_rows, runs, start_run, verdict


def flows() -> ResponseReturnValue:
    """GET /flows: every flow, in groups, with the result of its last run."""
    last = {name: run for name, run in runs().items() if name in ENTRIES}
    verdicts = {name: verdict(ENTRIES[name], run) for name, run in last.items()}
    return _page("catalog/flows.html", groups=GROUPS, runs=last, verdicts=verdicts)


def flow(name: str) -> ResponseReturnValue:
    """GET /flows/<name>: a flow's description, its last run, its difference from the base flow, and its source."""
    entry = _entry(name)
    run, now = runs().get(name), clock.now()
    return _page(
        "catalog/flow.html",
        entry=entry,
        run=run,
        verdict=verdict(entry, run) if run else None,
        rows=outcome_rows(entry, run),
        began=moment(run["at"], now) if run else "",
        base=file_name(entry.base),
    )


def start(name: str) -> ResponseReturnValue:
    """POST /flows/<name>/start: run a flow, or redirect to the client's view that starts it."""
    entry = _entry(name)
    start_run(entry)
    return entry.start() if entry.start else with_error_pages(lambda: _run(entry))()


def callback() -> ResponseReturnValue:
    """GET /callback: continue a flow of the lab, which ends on its page, or call the client's view."""
    entry = _waiting_entry()
    return with_error_pages(lambda: _resume(entry))() if entry else client_pages.callback()


def _run(entry: Entry) -> ResponseReturnValue:
    if entry.uses_the_browser:
        return redirect(services().runner.start(entry.flow.name), 303)
    with suppress(FlowError):
        services().runner.run(entry.flow.name, {})
    return _redirect_to_page(entry)


def _resume(entry: Entry) -> ResponseReturnValue:
    try:
        *_, next_url = services().runner.resume(request.args)
    except FlowError as error:
        if error.error == "unknown_state":
            raise
        next_url = None
    return redirect(next_url, 303) if next_url else _redirect_to_page(entry)


def _waiting_entry() -> Entry | None:
    """Return the lab's flow that waits for this response, or None.

    A response with a repeated parameter is left to the client's view, which rejects it.
    """
    if any(len(values) > 1 for _, values in request.args.lists()):
        return None
    waiting = services().store.get("flow", request.args.get("state", ""))
    entry = ENTRIES.get(waiting["flow"]) if waiting else None
    return entry if entry and entry.start is None else None


def _entry(name: str) -> Entry:
    return ENTRIES.get(name) or abort(404)


def _redirect_to_page(entry: Entry) -> ResponseReturnValue:
    return redirect(url_for("catalog.flow", name=entry.name, _anchor="came"), 303)


def _page(template: str, **values: object) -> ResponseReturnValue:
    sessions = services().sessions
    available = {"": True, "connection": sessions.tokens() is not None, "sign-in": sessions.user() is not None}
    response = make_response(
        render_template(template, available=available, CODE=CODE, NO_RESPONSE=NO_RESPONSE, **values)
    )
    let_forms_leave(response, scripts=True)  # most flows start with a redirect to the authorization endpoint
    return response
