"""A flow as the catalogue has it: what it is, what has to come of it, its source, how it differs (none: the lab's)."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import unified_diff
from functools import cache
from types import ModuleType
from typing import Final, Literal

from flask.typing import ResponseReturnValue

from rolecall_client.flow import Flow
from rolecall_client.flows import authorization_code

PLAIN: Final = authorization_code
"""What the other flows are compared with, unless they say otherwise."""

CODE: Final = "code"
NO_ANSWER: Final = "no answer"
GOOD: Final = frozenset({CODE, "200", "201", "204"})
BAD_ID_TOKEN: Final = "bad_id_token"
"""What comes besides error codes and statuses; the last when the client does not believe what it was given."""

Start = Callable[[], ResponseReturnValue]
Change = Literal["same", "added", "removed", "between"]
Need = Literal["", "connection", "sign-in"]


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the catalogue.

    Args:
        name: in the page's address; the flow's name, unless the flow has several entries.
        module: the flow's file.
        title: a few words.
        line: what it is, in one sentence.
        text: a few sentences more; `marked` are words of a protocol.
        clause: what demands the answers that have to come.
        expected: what has to come of each message, in order: a status, with its error code if it is an error; from the
            browser `CODE` or an error code; or `NO_ANSWER`.
        start: the client's own way of starting it; a flow without one is the lab's, and has tokens of its own.
        needs: what the browser must have at the client, or at the server, for it to come so.
        plain: what it is compared with.
        asks: the parameters that it adds, where its file is the one that it is compared with.
    """

    name: str
    module: ModuleType
    title: str
    line: str
    text: str
    clause: str
    expected: tuple[str, ...]
    start: Start | None = None
    needs: Need = ""
    plain: ModuleType = PLAIN
    asks: Mapping[str, str] = field(default_factory=dict)

    @property
    def flow(self) -> Flow:
        """What the file defines."""
        flow: Flow = self.module.FLOW
        return flow

    @property
    def is_refused(self) -> bool:
        """Whether somebody has to refuse it."""
        return not GOOD.issuperset(self.expected)

    @property
    def first_refusal(self) -> int:
        """The number of the first message that has to be refused."""
        return next(number for number, came in enumerate(self.expected) if came not in GOOD)

    @property
    def leads_through_the_browser(self) -> bool:
        """Whether one of its messages sends the browser on."""
        return any(step.diagram == 2 for step in self.flow.steps)

    @property
    def file(self) -> str:
        """The name of its file."""
        return file_of(self.module)

    def source(self) -> list[str]:
        """Its file, line by line."""
        return inspect.getsource(self.module).splitlines()

    def differences(self) -> list[tuple[Change, str]]:
        """What its steps do otherwise than those of the plain flow; empty for the plain flow."""
        if self.asks:
            names = (f"--- {self.file}", f"+++ {self.file}, started as {self.name}", "⋯")
            added = [f'+            "{name}": "{text}",' for name, text in self.asks.items()]
            return [*(("between", name) for name in names), *(("added", line) for line in added)]
        return _differences(self.plain, self.module)


def of_lab(module: ModuleType, clause: str, *expected: str, plain: ModuleType = PLAIN) -> Entry:
    """The entry of a flow of the lab's; its file's docstring says what it is, and why it comes as it does."""
    first, _, text = inspect.getdoc(module).partition("\n\n")  # type: ignore[union-attr]  # every file has one
    line = first.partition("): ")[2]
    flow: Flow = module.FLOW
    return Entry(flow.name, module, flow.title, line[:1].upper() + line[1:], text, clause, expected, plain=plain)


def file_of(module: ModuleType) -> str:
    """The name of a module's file."""
    return module.__name__.rpartition(".")[2] + ".py"


@cache
def _differences(plain: ModuleType, module: ModuleType) -> list[tuple[Change, str]]:
    names, lines = (file_of(plain), file_of(module)), (_told(plain), _told(module))
    diff = list(unified_diff(*lines, *names, lineterm=""))
    return [*(("between", name) for name in diff[:2]), *map(_change, diff[2:])]


def _change(line: str) -> tuple[Change, str]:
    if line.startswith("@@"):  # with numbers of lines that stand in no file
        return "between", "⋯"
    return ("added" if line.startswith("+") else "removed" if line.startswith("-") else "same"), line


def _told(module: ModuleType) -> list[str]:
    """The functions of a flow in the order in which they run, and the flow: where they stand makes no difference."""
    functions = [each for step in module.FLOW.steps for each in (step.build, step.handle)]
    text = inspect.getsource(module)
    definition = next(
        node
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "FLOW"
    )
    parts = [*map(inspect.getsource, functions), ast.get_source_segment(text, definition) or ""]
    return "\n\n".join(parts).splitlines()
