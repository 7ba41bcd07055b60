"""The list of flows, the stream of its changes, and the stream of the flows that start."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Final
from urllib.parse import urlencode

from flask import render_template, request, url_for
from flask.typing import ResponseReturnValue

from rolecall_lab.observer.flow_list import PAGE, Filter
from rolecall_lab.observer.outcome import LABELS
from rolecall_lab.observer.streaming import current_live, event_stream, last_event_id

MAX_TEXT: Final = 200
"""Maximum length of a query parameter, in characters."""


def flows() -> ResponseReturnValue:
    """GET /: the flows.

    Query parameters: `client`, `outcome`, and `endpoint` filter them, `page` is the number of the page, and `present`
    opens each flow that starts, for projectors.
    """
    live = current_live()
    chosen, number = _filter(), _page_number()
    rows = live.flow_list.rows()
    # read before the rows, so that the stream repeats changes made in between
    version = live.event_id(live.flow_list.version)
    shown = live.flow_list.page(chosen, number)
    return render_template(
        "observer/flows.html",
        rows=shown,
        chosen=chosen,
        is_filtered=chosen != Filter(),
        address=partial(_address, chosen),
        page=number,
        has_more=len(live.flow_list.page(chosen, number + 1)) > 0,
        page_size=PAGE,
        total=len(rows),
        clients=sorted({row.client for row in rows} | ({chosen.client} - {""}), key=str.casefold),
        endpoints=sorted({path for row in rows for path in row.endpoints} | ({chosen.endpoint} - {""})),
        outcomes=LABELS,
        version=version,
        is_presented="present" in request.args or "follow" in request.args,
        away=live.flows.store_unavailable,
    )


def watch_flows() -> ResponseReturnValue:
    """GET /live: server-sent events with the changes of the list. The query parameters are those of the list."""
    live, chosen = current_live(), _filter()
    version = live.version_from(last_event_id())
    return event_stream(lambda connection: live.list_stream(chosen, version, connection))


def watch_starts() -> ResponseReturnValue:
    """GET /starts: a server-sent event for each flow that starts. The ID of an event is that of the first message."""
    live, last = current_live(), last_event_id()[:MAX_TEXT]
    return event_stream(lambda connection: live.start_stream(last, connection))


def _filter() -> Filter:
    return Filter(*(request.args.get(name, "")[:MAX_TEXT] for name in ("client", "outcome", "endpoint")))


def _address(chosen: Filter, view: str, **more: int) -> str:
    """Return the URL of a view with the same filters; `url_for` has no room for a parameter named `endpoint`."""
    query = {name: text for name, text in asdict(chosen).items() if text} | more
    return url_for(view) + (f"?{urlencode(query)}" if query else "")


def _page_number() -> int:
    text = request.args.get("page", "")
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 5 else 1
