"""docs/specifications.md matches the registries and docstrings, and names a test for every clause."""

from __future__ import annotations

import pytest

from rolecall_lab.documentation import specifications
from rolecall_lab.documentation.specifications import FILE, TITLES, cited, rows

PROMISED = {
    *(f"RFC {number}" for number in (6749, 6750, 7009, 7523, 7591, 7592, 7636, 7662, 8252, 8414, 9068, 9101, 9207)),
    *("RFC 9700", "RFC 9728", "OpenID Connect Core", "OpenID Connect Discovery", "OpenID Connect Registration"),
    "OAuth 2.0 Form Post Response Mode",
}


def test_the_file_is_of_today() -> None:
    assert FILE.read_text(encoding="utf-8") == specifications.document(), "run `make docs`"


def test_every_promised_specification_has_clauses() -> None:
    assert TITLES.keys() >= PROMISED
    assert {specification for specification, *_ in rows()} >= PROMISED


def test_every_clause_that_is_implemented_has_a_test() -> None:
    unproved = [f"{specification} {section}" for specification, section, _, proved in rows() if not proved]
    assert not unproved, "cite the clause in the docstring of the test that proves it"
    assert len([*rows()]) > 100


def test_only_tests_prove_and_none_that_looks_on() -> None:
    for _, _, _, proved in rows():
        assert all("::test_" in each and not each.startswith("`lab/") for each in proved), proved


def test_the_lock_of_npm_names_no_registry() -> None:
    """It would be the registry of the lock's author, which others may not be able to reach."""
    lock = (FILE.parents[1] / "tests/interop/node/package-lock.json").read_text()
    assert '"integrity"' in lock
    assert "resolved" not in lock
    assert "://" not in "".join(line for line in lock.splitlines() if '"url"' not in line)


@pytest.mark.parametrize(
    ("text", "clauses"),
    [
        ("RFC 6749 sections 3.1 and 3.2", [("RFC 6749", "3.1"), ("RFC 6749", "3.2")]),
        ("as RFC 7636\n    section 4.6 has it.", [("RFC 7636", "4.6")]),
        ("RFC 6749 appendix A.3", [("RFC 6749", "A.3")]),
        ("RFC 9207", [("RFC 9207", "")]),
        (
            "OpenID Connect Core sections 2, 3.1.3.7 and 5",
            [("OpenID Connect Core", each) for each in ("2", "3.1.3.7", "5")],
        ),
        ("none: our own pages", []),
    ],
)
def test_what_a_text_cites(text: str, clauses: list[tuple[str, str]]) -> None:
    assert [*cited(text)] == clauses
