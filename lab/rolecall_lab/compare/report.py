"""Tally's side of the choice of a validator: the header in the request, and the API's report in the response."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rolecall.http import Answer
from rolecall_client.flow import Context, Flow, Message


def with_validator(flow: Flow) -> Flow:
    """Return the flow `ask` with the memory's `validator` in the request, and the response's report in the memory."""
    [step] = flow.steps

    def build(context: Context) -> Message:
        message = step.build(context)
        if validator := context.memory.get("validator"):
            message = replace(message, headers={**message.headers, "Rolecall-Validator": validator})
        return message

    def handle(context: Context, response: Answer) -> None:
        context.memory["report"] = response.headers.get("rolecall-checks", "")
        step.handle(context, response)

    return replace(flow, steps=(replace(step, build=build, handle=handle),))


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
