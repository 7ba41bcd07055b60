"""The sign-out page, which ends the session. The authorizations of apps remain until the person disconnects them."""

from __future__ import annotations

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from rolecall import audit
from rolecall_auth.services import services


def sign_out() -> ResponseReturnValue:
    """Ask for confirmation (GET), or sign the person out (POST)."""
    current = services().sessions.current()
    if request.method == "POST":
        services().sessions.end()
        if current is not None:
            audit.record("signed_out", user_id=current.user_id)
        return redirect(url_for("home"), 303)
    return render_template("sign_out.html", who=current)
