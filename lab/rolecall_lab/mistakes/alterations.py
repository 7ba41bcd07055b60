"""The alterations: differences, wrong or only unusual, in a provider's responses, and the clause that decides.

The table is in the modules `of_*`, one for each kind of response.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

Change = Callable[[Any], None]

TOKEN_RULE: Final = "id_token."
"""How a `refusal` begins that names a rule of ID tokens: the name of the client's check."""


@dataclass(frozen=True, slots=True)
class Alteration:
    """A difference from a correct provider.

    Args:
        title: a few words.
        clause: the section that decides whether a client may accept it.
        changes: functions that change the draft of a response, by the place where they apply.
        refusal: how the client must refuse it: the error that ends the flow, or the check of an ID token that fails
            (`TOKEN_RULE`, or the check of refreshed ID tokens). Empty if the client must accept it.
        secure: the client only has to refuse it outside of the lab, where plain http is not allowed.
    """

    name: str
    title: str
    clause: str
    changes: Mapping[str, Change]
    refusal: str = ""
    secure: bool = False

    @property
    def is_accepted(self) -> bool:
        """Whether a client must accept it, because the specification allows it."""
        return not self.refusal


def set_members(**members: Any) -> Change:
    """Return a change that sets members of a JSON body."""
    return lambda draft: draft.body.update(members)


def remove_members(*names: str) -> Change:
    """Return a change that removes members of a JSON body."""

    def change(draft: Any) -> None:
        for name in names:
            draft.body.pop(name, None)

    return change


def replace_body(body: Any, status: int = 200, content_type: str = "application/json") -> Change:
    """Return a change that replaces a whole response."""

    def change(draft: Any) -> None:
        draft.body, draft.status, draft.content_type = body, status, content_type

    return change


DEEP: Final = b'{"a":' * 100_000
"""JSON that is nested so deeply that a recursive parser fails."""
