"""All alterations, by name."""

from __future__ import annotations

from typing import Final

from rolecall_lab.mistakes import of_id_tokens, of_refresh, of_responses
from rolecall_lab.mistakes.alterations import Alteration

ALTERATIONS: Final[dict[str, Alteration]] = {
    each.name: each for each in (*of_responses.ALTERATIONS, *of_id_tokens.ALTERATIONS, *of_refresh.ALTERATIONS)
}
