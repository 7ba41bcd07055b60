"""A search for phrases that no English-speaking engineer would write, in code, templates, YAML files, and documents."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

PHRASES: Final = {
    "negated noun": r"\b(?:is|are|was|were|be) no (?!longer\b|more\b|less\b|need\b|way\b|such\b|reason\b)[a-z]+",
    "headless 'none'": r"\b(?:is|are|was|were) none\b",
    "indefinite person": r"\b(?:any|every|no|some)body\b|\bwho(?:so)?ever\b",
    "headless relative clause": (
        r"\b(?:that|those) (?:which|who)\b|\ball that\b"
        r"|\b(?:every|some|any|no)thing that (?:is|was|came|comes)\b"
    ),
    "clause as a noun": r"(?:^|[.;:,(] )what (?:is|was|has|had|comes|came|it|they|the|a|one|only|others?)\b",
    "clause after a preposition": (
        r"\b(?:of|from|for|with|to|by|on) what (?:is|was|has|had|came|it|they|the|one|others?)\b"
    ),
    "passive of tell or say": r"\b(?:is|are|was|were|be|been|being) (?:told|said)\b",
    "tell or say for show or return": r"\b(?:tells?|told|says?|said) (?:what|how|who|which|whether|where|so)\b",
    "shall": r"\bshall\b",
    "archaic": r"\b(?:anew|hence|lest|nor|thereof|herein|thereby|whereby|in place of|once more)\b",
    "impersonal one": r"\bone (?:sees|may|can|must|could|has|asks|wants|gets|looks)\b",
    "own": r"\bof (?:its|their|one's|his|her) own\b",
    "stand for be": r"\b(?:stands?|stood) (?:in|at|on|there|under|before|above|after|here|beside)\b",
    "come of": r"\bcomes? of\b|\bcame of\b",
    "take back": (
        r"\btak(?:es?|en|ing) (?:it|them|that) (?:away|back|up)\b|\bgiv(?:es?|en|ing) (?:it|them) (?:up|back)\b"
    ),
    "mend": r"\bmend(?:s|ed|ing)?\b",
    "at once": r"\bat once\b|\bat length\b",
    "inverted order": r"\b(?:here|there) (?:it|they) (?:is|are|comes?)\b",
    "otherwise than": r"\botherwise than\b|\ball else\b",
    "nothing as a subject": r"(?:^|[.;:] )nothing (?:is|was|stands|comes|came|has)\b",
}
"""The pattern of each kind of phrase, by its name."""

_FOUND: Final = re.compile("|".join(f"(?:{each})" for each in PHRASES.values()), re.IGNORECASE | re.MULTILINE)
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z'’-]*")
_DIRECTIVE: Final = re.compile(r"#\s*(?:noqa|type:|!|pragma|fmt:|ruff:)")
_SENTENCE: Final = 5
"""The minimum number of words for a string to count as prose."""

_KINDS: Final = {
    ".html": ("templates", r"(?s)<(?:style|script)\b.*?</(?:style|script)>|\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}|<[^>]+>"),
    ".md": ("documents", r"(?ms)^```.*?^```|`[^`\n]*`"),
    ".yaml": ("YAML", r"(?!)"),
    ".yml": ("YAML", r"(?!)"),
}
"""The kind of text in a file, and the parts that are not prose, by suffix."""


@dataclass
class Count:
    """Words and hits in texts of one kind; a hit is `path:line: the phrase`."""

    words: int = 0
    hits: list[str] = field(default_factory=list)

    def add(self, place: str, text: str) -> None:
        self.words += len(_WORD.findall(text))
        self.hits += [f"{place}: {match[0]}" for match in _FOUND.finditer(text)]

    @property
    def per_thousand(self) -> float:
        return 1000 * len(self.hits) / max(self.words, 1)


def count(*paths: Path) -> dict[str, Count]:
    """Count the hits in files, or in all files of folders, by kind of text."""
    counts: dict[str, Count] = {}
    for path in (each for top in paths for each in (sorted(top.rglob("*")) if top.is_dir() else [top])):
        for kind, line, text in file_texts(path):
            counts.setdefault(kind, Count()).add(f"{path}:{line}", text)
    return counts


def file_texts(path: Path) -> Iterator[tuple[str, int, str]]:
    """Yield kind, line, and text of the prose in a file; none if it is not a kind of file that has prose."""
    if path.suffix == ".py":
        yield from texts(path.read_text(encoding="utf-8"))
    elif path.suffix in _KINDS:
        kind, left_out = _KINDS[path.suffix]
        source = re.sub(left_out, _blank, path.read_text(encoding="utf-8"))
        yield from ((kind, number, line) for number, line in enumerate(source.splitlines(), 1) if line.strip())


def _blank(found: re.Match[str]) -> str:
    """Return a replacement that keeps the line numbers, and ends no sentence."""
    return "·" + "\n" * found[0].count("\n")


def texts(source: str) -> Iterator[tuple[str, int, str]]:
    """Yield kind, line, and text of each docstring, comment, and string that is prose."""
    tree = ast.parse(source)
    documented = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) in documented:
                yield "docstrings", node.lineno, node.value
            elif len(node.value.split()) >= _SENTENCE:
                yield "strings", node.lineno, node.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not _DIRECTIVE.match(token.string):
            yield "comments", token.start[0], token.string.lstrip("# ")
