"""For gunicorn and `flask`, in production: `resource_service.wsgi:app()`."""

from __future__ import annotations

from flask import Flask

from resource_service import create_app
from resource_service.settings import Settings
from rolecall.web import app_of_environ


def app() -> Flask:
    """The application with the settings of the environment."""
    return app_of_environ(create_app, Settings)
