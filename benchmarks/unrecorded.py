"""The authorization server with the lab's settings and without its layer: the difference is what the recorder costs."""

from __future__ import annotations

import os

from flask import Flask

import rolecall_auth
from rolecall_auth.settings import Settings


def auth_app() -> Flask:
    """For gunicorn."""
    return rolecall_auth.create_app(Settings.from_environ(os.environ, lab=True))
