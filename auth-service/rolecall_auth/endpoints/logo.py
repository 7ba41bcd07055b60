"""A client's logo, for the consent page (RFC 7591 section 2)."""

from __future__ import annotations

from flask import Response, abort
from flask.typing import ResponseReturnValue

from rolecall_auth.models.logo import Logo
from rolecall_auth.services import services


def logo(client_id: str) -> ResponseReturnValue:
    """GET /logos/<client_id>: the image, which can hold no script."""
    with services().database.read() as session:
        found = session.get(Logo, client_id) if client_id.isprintable() else None
    if found is None:
        abort(404)
    headers = {"Cache-Control": "public, max-age=3600", "Content-Security-Policy": "default-src 'none'; sandbox"}
    return Response(found.image, headers=headers, mimetype=found.media_type)
