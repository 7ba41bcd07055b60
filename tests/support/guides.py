"""The examples of the README and of the pages in docs/."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]

_BLOCK: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples(page: Path, language: str) -> list[str]:
    """Return the code blocks of a page in one language, in their order."""
    return [code for kind, code in _BLOCK.findall(page.read_text(encoding="utf-8")) if kind == language]
