"""All URLs of the observer."""

from __future__ import annotations

from typing import Final

from rolecall.web.routes import Route
from rolecall_lab.observer.list_pages import flows, watch_flows, watch_starts
from rolecall_lab.observer.pages import export, flow, flow_of_request, load, message, watch
from rolecall_lab.observer.site import documentation

_GET: Final = ("GET",)
_POST: Final = ("POST",)

ROUTES: Final = (
    Route("flows", "/", _GET, flows, "page", "none: the newest flows"),
    Route("watch-flows", "/live", _GET, watch_flows, "api", "none: the newest flows, as server-sent events"),
    Route("watch-starts", "/starts", _GET, watch_starts, "api", "none: each flow that starts, as a server-sent event"),
    Route("flow", "/flows/<name>", _GET, flow, "page", "none: one flow's diagram"),
    Route("watch", "/flows/<name>/live", _GET, watch, "api", "none: the diagram as it grows, as server-sent events"),
    Route("message", "/flows/<name>/messages/<int:number>", _GET, message, "page", "none: one message in full"),
    Route("export", "/flows/<name>/export/<kind>", _GET, export, "api", "none: the flow as a file"),
    Route("load", "/load", _POST, load, "page", "none: display an exported file of events"),
    Route("of-trace", "/of/<trace>", _GET, flow_of_request, "page", "none: the flow of a request ID"),
    Route("documentation", "/docs/", _GET, documentation, "page", "none: the first page of the documentation"),
    Route("documentation-file", "/docs/<path:path>", _GET, documentation, "page", "none: a file of the documentation"),
)
