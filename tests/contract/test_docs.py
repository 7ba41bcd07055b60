"""The files, names, and tests that the documents cite exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from support.long import PARTS

ROOT: Final = Path(__file__).parents[2]
GENERATED: Final = ROOT / "docs" / "specifications.md"
DOCUMENTS: Final = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")} - {GENERATED})
FOLDERS: Final = "auth-service|resource-service|client-webapp|shared|lab|tests|docs|compose|requirements|benchmarks"
CITED: Final = re.compile(rf"`((?:{FOLDERS}|\.ci)/[\w./-]+)(?:::(\w+))?`")
LINK: Final = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")


@cache
def names(path: Path) -> frozenset[str]:
    """Return the names that a module defines, at any depth."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return frozenset(found)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_cites_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    missing = [target for target in LINK.findall(text) if not (document.parent / target).exists()]
    for path, name in CITED.findall(text):
        file = ROOT / path
        if not file.exists():
            missing.append(path)
        elif name and (file.suffix != ".py" or name not in names(file)):
            missing.append(f"{path}::{name}")
    assert not missing


def test_contributing_lists_the_parts_of_the_long_tests() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    table = dict(re.findall(r"^\| `([\w-]+)` \| (.+?) \| [^|]+ \|$", text, re.MULTILINE))
    assert table == {part.name: part.proves for part in PARTS}
