"""Lets each request to the resource server choose the validator of its access token (header `Rolecall-Validator`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from flask import Flask, request

from rolecall import checks

if TYPE_CHECKING:
    from rolecall_resource.validators import AccessToken, Validator

ENVIRON_KEY: Final = "rolecall.validator"
"""The WSGI key with the requested validator, and afterwards with the one used; clients cannot set it directly."""

KNOWN = checks.define(
    "bearer.validator", "none: the lab's choice", "invalid_request", "The validator must be jwt or introspection."
)


class RequestedValidator:
    """Validates a token with the validator that the request names. The default is the configured validator."""

    def __init__(self, validators: Mapping[str, Validator], default: str) -> None:
        self._validators = validators
        self._default = default

    def validate(self, token: str) -> AccessToken:
        """See `rolecall_resource.validators.Validator`."""
        name = request.environ.get(ENVIRON_KEY) or self._default
        if name not in self._validators:
            raise KNOWN.refusal(expected="jwt or introspection", actual="another")
        request.environ[ENVIRON_KEY] = name
        return self._validators[name].validate(token)


def show(app: Flask) -> None:
    """Let requests to the resource server's application choose the validator."""
    default = app.extensions["rolecall_resource"].validator
    app.extensions["resource_validator"] = RequestedValidator(app.extensions["resource_validators"], default)
