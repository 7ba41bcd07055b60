"""Equal parts of events in memory: most checks and texts are the same in thousands of events."""

from __future__ import annotations

import json
from collections import OrderedDict
from sys import intern
from typing import Any, Final

from rolecall_lab.recording.findings import HIDDEN

MAX_CHECKS: Final = 1000
MAX_LENGTH: Final = 200
"""Maximum length of a shared text, in characters."""


class Sharing:
    """Lets events refer to the checks and texts of earlier events, none of which is ever changed."""

    def __init__(self) -> None:
        self._checks: OrderedDict[str, Any] = OrderedDict()

    def share(self, value: Any) -> Any:
        """Return an equal JSON value."""
        kind = type(value)
        if kind is str:
            return intern(value) if len(value) <= MAX_LENGTH else value
        if kind is list:
            return [self.share(each) for each in value]
        if kind is not dict:
            return value
        if "clause" in value:
            return self._share_check(value)
        if value == HIDDEN:
            return HIDDEN
        return self._share_members(value)

    def _share_members(self, value: dict[str, Any]) -> dict[str, Any]:
        # a program that reads JSON gets new names with each event
        return {intern(name): self.share(each) for name, each in value.items()}

    def _share_check(self, check: dict[str, Any]) -> Any:
        text = json.dumps(check)
        known = self._checks.get(text)
        if known is None:
            known = self._checks[text] = self._share_members(check)
            if len(self._checks) > MAX_CHECKS:
                self._checks.popitem(last=False)
        else:
            self._checks.move_to_end(text)
        return known
