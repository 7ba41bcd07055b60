"""The application factory for gunicorn and `flask` in production: `rolecall_client.wsgi:app()`."""

from __future__ import annotations

from flask import Flask

from rolecall.web.app import app_of_environ
from rolecall_client import create_app
from rolecall_client.settings import Settings


def app() -> Flask:
    """Create the application with settings from the environment."""
    return app_of_environ(create_app, Settings.from_environ)
