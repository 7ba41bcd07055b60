"""Authlib's engine, once a process: it holds registries only, so threads and applications share it."""

from __future__ import annotations

from typing import Final

from rolecall_auth.authorization_server import AuthorizationServer

engine: Final = AuthorizationServer()
