"""For gunicorn and `flask`, in production: `resource_service.wsgi:app()`."""

from __future__ import annotations

import os
import sys

from flask import Flask

from resource_service import create_app
from resource_service.settings import Settings
from rolecall.settings import SettingsError


def app() -> Flask:
    """The application with the settings of the environment; a fault in them is one clear line each."""
    try:
        return create_app(Settings.from_environ(os.environ))
    except SettingsError as error:
        sys.exit("\n".join(f"{Settings.SERVICE}: {fault}" for fault in error.faults))
