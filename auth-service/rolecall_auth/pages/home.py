"""The first page: what this server is, and what a person can do here."""

from __future__ import annotations

from flask import render_template
from flask.typing import ResponseReturnValue


def home() -> ResponseReturnValue:
    """GET /."""
    return render_template("home.html")
