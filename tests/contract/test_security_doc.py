"""docs/security.md: what it names is there, every requirement of the chapters has a row, and every row a state."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
DOC: Final = ROOT / "docs" / "security.md"

CHAPTERS: Final = {
    3: (1, 3, 5, 8, 8, 1, 5),
    6: (3, 12, 8, 6, 8, 4, 2, 4),
    7: (3, 4, 2, 5, 3, 2),
    8: (4, 4, 3, 2),
    10: (2, 3, 5, 16, 5, 2, 3),
}
"""Of OWASP ASVS 5.0.0: the number of requirements of each section of a chapter."""

NUMBER: Final = re.compile(r"(\d+)\.(\d+)\.(\d+)(?: – (\d+))?")
NAMED: Final = re.compile(r"`([\w./-]+\.(?:py|md|html|conf|yml|toml|in|txt))(?:::(\w+))?`")
STATE: Final = re.compile(r"met|(?:partly|open|does not apply): \S.+")


@dataclass(frozen=True)
class Row:
    """A row of a table; `numbers` are those of the requirements that it is about."""

    numbers: tuple[str, ...]
    words: str
    place: str
    test: str
    state: str


def rows(text: str) -> Iterator[Row]:
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        found = NUMBER.fullmatch(cells[0]) if line.startswith("|") else None
        if found is None:
            continue
        chapter, section, first, last = found.groups()
        numbers = range(int(first), int(last or first) + 1)
        cells += [""] * (5 - len(cells))
        yield Row(tuple(f"{chapter}.{section}.{number}" for number in numbers), *cells[1:5])


@cache
def names(path: Path) -> frozenset[str]:
    """What a module defines, at any depth."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return frozenset(found)


def faults(text: str) -> list[str]:
    """All that is wrong with the page."""
    found = []
    for path, name in NAMED.findall(text):
        file = ROOT / path
        if not file.is_file():
            found.append(f"there is no file {path}")
        elif name and (file.suffix != ".py" or name not in names(file)):
            found.append(f"{path} defines no {name}")
    table = list(rows(text))
    for row in table:
        tests = NAMED.findall(row.test)
        where = row.numbers[0]
        if not STATE.fullmatch(row.state):
            found.append(f"{where} has no state, or no reason: {row.state!r}")
        if not row.words:
            found.append(f"{where} says nothing")
        if any(not path.startswith("tests/") or not name.startswith("test_") for path, name in tests):
            found.append(f"{where} names a test that is none")
        if row.state == "met" and not (NAMED.search(row.place) and tests):
            found.append(f"{where} is met, and has no place or no test")
    written = Counter(number for row in table for number in row.numbers)
    wanted = {
        f"{chapter}.{section}.{number}"
        for chapter, counts in CHAPTERS.items()
        for section, count in enumerate(counts, 1)
        for number in range(1, count + 1)
    }
    found += [f"{number} is missing" for number in sorted(wanted - written.keys())]
    found += [f"{number} does not exist" for number in sorted(written.keys() - wanted)]
    found += [f"{number} stands there {count} times" for number, count in written.items() if count > 1]
    return found


def test_every_place_and_test_is_there_and_every_requirement_has_a_row() -> None:
    """OWASP ASVS 5.0.0, chapters V3, V6, V7, V8 and V10."""
    assert not faults(DOC.read_text())


def test_v10_is_complete() -> None:
    """All 36 requirements of OWASP ASVS 5.0.0 V10, each with a row of its own."""
    numbers = [row.numbers for row in rows(DOC.read_text()) if row.numbers[0].startswith("10.")]
    assert len(numbers) == len(set(numbers)) == 36
    assert {len(each) for each in numbers} == {1}


GOOD: Final = "| 10.1.1 | words | `shared/rolecall/web.py::_policy` | `tests/auth/test_flow.py::{}` | met |"
TEST: Final = "test_code_flow_gives_tokens_for_the_resource"
BROKEN: Final = {
    "no such file": ("shared/rolecall/web.py::_policy", "shared/rolecall/wob.py", "no file"),
    "no such name": ("web.py::_policy", "web.py::_police", "defines no _police"),
    "no such test": (TEST, "test_nothing", "defines no test_nothing"),
    "a test that is none": (f"tests/auth/test_flow.py::{TEST}", "shared/rolecall/web.py::Route", "test that is none"),
    "another state": ("met", "done", "no state"),
    "partly without a reason": ("met", "partly", "no state"),
    "met without a test": (f"`tests/auth/test_flow.py::{TEST}`", "–", "is met"),
    "met without a place": ("`shared/rolecall/web.py::_policy`", "–", "is met"),
    "a number that is none": ("10.1.1", "10.1.9", "10.1.9 does not exist"),
    "a row that is missing": ("10.1.1", "10.1.2", "10.1.1 is missing"),
    "nothing said": ("words", "", "says nothing"),
}


@pytest.mark.parametrize(("good", "bad", "said"), BROKEN.values(), ids=BROKEN.keys())
def test_a_fault_is_found(good: str, bad: str, said: str) -> None:
    line = GOOD.format(TEST)
    assert good in line
    assert not [fault for fault in faults(line) if said in fault]
    assert [fault for fault in faults(line.replace(good, bad)) if said in fault]


def test_a_requirement_that_stands_there_twice_is_found() -> None:
    line = GOOD.format(TEST)
    assert "10.1.1 stands there 2 times" in faults(f"{line}\n{line}")


def test_every_security_rule_that_is_off_is_named() -> None:
    """The rules `S` of ruff: what pyproject.toml leaves out, the page gives a reason for."""
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    off = [*lint["ignore"], *(rule for rules in lint["per-file-ignores"].values() for rule in rules)]
    for folder in ("shared", "auth-service", "resource-service", "client-webapp", "lab", ".ci"):
        for path in (ROOT / folder).rglob("*.py"):
            for noqa in re.findall(r"# noqa: ([\w, ]+)", path.read_text()):
                off += re.findall(r"\bS\d{3}\b", noqa)
    said = DOC.read_text()
    assert "S" in lint["select"]
    assert "S101" in off
    assert not [rule for rule in set(off) if re.fullmatch(r"S\d{3}", rule) and f"`{rule}`" not in said]
