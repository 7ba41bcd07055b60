"""The entry point for gunicorn and `flask`: `rolecall_auth.wsgi:app()`."""

from __future__ import annotations

from flask import Flask

from rolecall.web.app import app_of_environ
from rolecall_auth import create_app
from rolecall_auth.settings import Settings


def app() -> Flask:
    """Build the application from the settings in the environment."""
    return app_of_environ(create_app, Settings)
