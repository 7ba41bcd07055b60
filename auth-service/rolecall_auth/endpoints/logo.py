"""Client logos for the consent page (RFC 7591 section 2)."""

from __future__ import annotations

from flask import Response, abort
from flask.typing import ResponseReturnValue

from rolecall import events
from rolecall_auth.models.logo import Logo
from rolecall_auth.services import services


def logo(client_id: str) -> ResponseReturnValue:
    """GET /logos/<client_id>: return the image, with a policy that blocks scripts."""
    with services().database.read() as session:
        row = session.get(Logo, client_id) if client_id.isprintable() else None
    if row is None:
        abort(404)
    events.note("identity", value=client_id)
    headers = {"Cache-Control": "public, max-age=3600", "Content-Security-Policy": "default-src 'none'; sandbox"}
    return Response(row.image, headers=headers, mimetype=row.media_type)
