"""The contract tests look at the authorization server of its own tests."""

from auth.conftest import closed, server

__all__ = ["closed", "server"]
