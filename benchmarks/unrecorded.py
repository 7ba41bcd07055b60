"""The authorization server with the lab's settings and without its layer: the difference is what the recorder costs."""

from __future__ import annotations

import os

from flask import Flask

import auth_service
from auth_service.settings import Settings


def auth_app() -> Flask:
    """For gunicorn."""
    return auth_service.create_app(Settings.from_environ(os.environ, lab=True))
