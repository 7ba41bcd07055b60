"""The mistaken provider as part of the observer: one issuer for each alteration, below `/mistakes`."""

from __future__ import annotations

from flask import Response, abort, current_app, redirect, request
from flask.typing import ResponseReturnValue

from rolecall_lab.mistakes.drafts import Draft
from rolecall_lab.mistakes.provider import Provider
from rolecall_lab.mistakes.table import ALTERATIONS
from rolecall_lab.settings import LabSettings


def provider(name: str, path: str) -> ResponseReturnValue:
    """GET or POST below /mistakes/<name>: a response of the provider with this alteration.

    It only redirects to the callback of the lab's client. Metadata that are fetched at the observer's back-channel
    address name the other endpoints there.

    Args:
        path: the path of the request's URL.
    """
    alteration = ALTERATIONS.get(name) or abort(404)
    lab: LabSettings = current_app.extensions["mistakes"]
    own = Provider(f"{lab.mistakes_url}/{name}", alteration, f"{request.host_url}mistakes/{name}")
    parameters = request.form if request.method == "POST" else request.args
    response = own.respond(request.method, path, parameters, request.headers.get("Authorization", ""))
    if isinstance(response, Draft):
        return Response(response.encoded(), response.status, mimetype=response.content_type)
    redirect_uri = parameters.get("redirect_uri")
    if redirect_uri != f"{lab.client_url}/callback":
        abort(400)
    return redirect(response.url(redirect_uri), 303)
