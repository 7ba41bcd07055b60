"""The pages of docs/clients and docs/apis show lines that the tests of tests/interop use."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.guides import examples

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page for kind in ("clients", "apis") for page in (ROOT / "docs" / kind).glob("*.md") if page.stem != "README"
)
TESTING = ROOT / "docs" / "testing" / "README.md"
_CODE = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_TEST = re.compile(r"\(\.\./\.\./(tests/interop/[\w/.-]+)\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.stem}")
def test_every_line_of_code_is_tested(page: Path) -> None:
    """Each page links to its test, and each line of its code is in a file of tests/interop."""
    text = page.read_text()
    tests = [ROOT / path for path in _TEST.findall(text)]
    assert tests, "the page does not link to a test, as in [test](../../tests/interop/test_x.py)"
    assert all(path.is_file() for path in tests)
    shown = {line.strip() for block in _CODE.findall(text) for line in block.splitlines()}
    assert shown - _lines("") - {""} == set()


def test_every_line_of_python_in_the_guide_to_testing_is_tested() -> None:
    """Each example is in one of the files that `tests/interop/test_testing.py` runs."""
    shown = {line.strip() for block in examples(TESTING, "python") for line in block.splitlines()}
    assert shown
    assert shown - _lines("testing") - {""} == set()


def _lines(folder: str) -> set[str]:
    """Return the lines of all files of tests/interop, or of one of its folders."""
    return {
        line.strip()
        for path in (ROOT / "tests/interop" / folder).rglob("*")
        if path.is_file() and "node_modules" not in path.parts and path.suffix != ".pyc"
        for line in path.read_text().splitlines()
    }


@pytest.mark.parametrize("kind", ["clients", "apis"])
def test_the_table_lists_every_page(kind: str) -> None:
    listed = re.findall(r"\]\(([\w-]+\.md)\)", (ROOT / "docs" / kind / "README.md").read_text())
    assert sorted(listed) == [page.name for page in PAGES if page.parent.name == kind]
