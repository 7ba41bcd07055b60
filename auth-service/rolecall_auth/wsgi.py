"""The entry point for gunicorn and `flask`: `rolecall_auth.wsgi:app()`."""

from __future__ import annotations

import os

from flask import Flask

from rolecall.web.app import app_of_environ
from rolecall_auth import create_app, hosting
from rolecall_auth.settings import Settings


def app() -> Flask:
    """Build the application from the settings in the environment; with `ISSUERS_FILE`, one for all of its issuers."""
    if os.environ.get("ISSUERS_FILE"):
        return app_of_environ(hosting.create_host, hosting.read_issuers)
    return app_of_environ(create_app, Settings.from_environ)
