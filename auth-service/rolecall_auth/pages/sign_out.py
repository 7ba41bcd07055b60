"""Sign-out: ends the session here; what apps were given stays until it is taken back."""

from __future__ import annotations

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from rolecall import audit
from rolecall_auth.services import services


def sign_out() -> ResponseReturnValue:
    """GET asks, POST does it."""
    who = services().sessions.current()
    if request.method == "POST":
        services().sessions.end()
        if who is not None:
            audit.record("signed_out", user_id=who.user_id)
        return redirect(url_for("home"), 303)
    return render_template("sign_out.html", who=who)
