"""For gunicorn and `flask`, in production: `client_webapp.wsgi:app()`."""

from __future__ import annotations

from flask import Flask

from client_webapp import create_app
from client_webapp.settings import Settings
from rolecall.web import app_of_environ


def app() -> Flask:
    """The application with the settings of the environment."""
    return app_of_environ(create_app, Settings)
