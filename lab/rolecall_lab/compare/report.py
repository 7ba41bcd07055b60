"""Tally's side of the choice of a validator: the header in the request, and the API's report in the response."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import wraps
from typing import Any, Final

from rolecall.http import HttpResponse
from rolecall_client.flow import Context, Flow, Message, Step

_STEP: Final = "resource_request"
"""The name of the step that calls the API, in every flow."""


def with_validator(flow: Flow) -> Flow:
    """Return the flow with the memory's `validator` in requests to the API, and the response's report in the memory."""
    return replace(flow, steps=tuple(_with_validator(step) if step.name == _STEP else step for step in flow.steps))


def _with_validator(step: Step) -> Step:
    @wraps(step.build)
    def build(context: Context) -> Message | None:
        message = step.build(context)
        if message is not None and (validator := context.memory.get("validator")):
            message = replace(message, headers={**message.headers, "Rolecall-Validator": validator})
        return message

    @wraps(step.handle)
    def handle(context: Context, response: HttpResponse) -> None:
        context.memory["report"] = response.headers.get("rolecall-checks", "")
        step.handle(context, response)

    return replace(step, build=build, handle=handle)


def report(memory: Mapping[str, Any]) -> dict[str, Any]:
    """Return the report that the flow stored; empty if it is missing or invalid."""
    try:
        value = json.loads(memory["report"] or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def objects(value: Any) -> list[dict[str, Any]]:
    """Return the objects in a list of the report."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
