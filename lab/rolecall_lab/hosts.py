"""The rejection of requests under host names that are not the lab's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rolecall.web.app import plain_response
from rolecall_lab.settings import LabSettings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


def reject_unknown_hosts(application: WSGIApplication, lab: LabSettings) -> WSGIApplication:
    """Return 403 for every path under an unknown host name.

    After DNS rebinding, a page of another site has the same origin as the service, and only the name shows it: in the
    Host header or, behind trusted proxies that change it, in the host that the application uses.
    """

    def middleware(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        received = environ.get("werkzeug.proxy_fix.orig", environ)
        if all(lab.is_known_host(each.get("HTTP_HOST") or "") for each in (received, environ)):
            return application(environ, start_response)
        text = f"The lab does not accept requests under this host name. Open it at {lab.own_url}"
        return plain_response(403, text, start_response, ("Connection", "close"))

    return middleware
