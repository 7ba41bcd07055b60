"""The home page, which describes the server and links to the other pages."""

from __future__ import annotations

from flask import render_template
from flask.typing import ResponseReturnValue


def home() -> ResponseReturnValue:
    """Handle GET /."""
    return render_template("home.html")
