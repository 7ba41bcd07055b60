"""Protected resource metadata (RFC 9728 section 2)."""

from __future__ import annotations

import json
from functools import cache
from typing import cast
from urllib.parse import urlsplit

from flask import abort, current_app
from flask.typing import ResponseReturnValue

from rolecall.web.documents import Document
from rolecall_resource.invoices import SCOPES
from rolecall_resource.protect import REALM
from rolecall_resource.settings import Settings


def metadata(path: str = "") -> ResponseReturnValue:
    """Return the metadata; the identifier's path follows the well-known path (RFC 9728 section 3.1)."""
    settings = cast("Settings", current_app.extensions["rolecall_resource"])
    if path != urlsplit(settings.resource_identifier).path.lstrip("/"):
        abort(404)
    return _document(settings).response()


@cache
def _document(settings: Settings) -> Document:
    body = {
        "resource": settings.resource_identifier,
        "authorization_servers": [settings.issuer],
        "scopes_supported": list(SCOPES),
        "bearer_methods_supported": ["header"],
        "resource_name": REALM,
    }
    return Document.of(json.dumps(body), "application/json", 300)
