"""Messages that differ from another flow's message in a few parameters."""

from __future__ import annotations

from dataclasses import replace

from rolecall_client.flow import Message


def with_parameters(message: Message, **parameters: str | None) -> Message:
    """Return the message with parameters added or replaced; None removes a parameter."""
    form = {**(message.form or {}), **parameters}
    return replace(message, form={name: value for name, value in form.items() if value is not None})
