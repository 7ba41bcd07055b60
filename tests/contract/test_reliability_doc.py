"""docs/reliability.md: each fault that the tests bring about has its row of figures, and no row is of anything else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from compose.test_reliability import FAULTS

DOC: Final = Path(__file__).parents[2] / "docs" / "reliability.md"


def test_every_fault_has_its_row_and_lost_nothing() -> None:
    section = DOC.read_text().partition("## Faults under load")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| (\d+) \| [^|]+ \| (\d+) \| \d+\.\d s \| \d+\.\d s \|$", section, re.MULTILINE)
    assert [name for name, _, _ in rows] == [*FAULTS]
    assert {lost for _, _, lost in rows} == {"0"}
