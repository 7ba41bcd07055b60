"""An entry of the catalog: a flow, its description, its expected outcome, and its difference from its base flow."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import unified_diff
from functools import cache
from types import ModuleType
from typing import Final, Literal

from flask.typing import ResponseReturnValue

from rolecall_client.flow import Flow
from rolecall_client.flows import authorization_code

BASE: Final = authorization_code
"""The module of the flow that an entry is compared with, unless the entry sets `base`."""

CODE: Final = "code"
"""The outcome of an authorization request whose response contains a code."""

NO_RESPONSE: Final = "no response"
"""The outcome of a message whose response has not reached the client."""

BAD_ID_TOKEN: Final = "bad_id_token"
"""The outcome of a successful token response whose ID token the client rejects."""

SUCCESSES: Final = frozenset({CODE, "200", "201", "204"})

Start = Callable[[], ResponseReturnValue]
Change = Literal["same", "added", "removed", "between"]
Need = Literal["", "connection", "sign-in"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A flow of the catalog.

    Args:
        name: the page's name in URLs; the flow's name, unless the flow has several entries.
        module: the module that defines the flow.
        title: a few words, starting with the technical name.
        summary: one sentence about what the flow does.
        description: a few more sentences; text in backticks is shown as code.
        clause: the clause that requires the expected outcome.
        expected: the expected outcome of each message, in order: a status, followed by the error code if there is
            one; `CODE` or an error code for a message that the browser carries; or `NO_RESPONSE`.
        start: the client's view that starts the flow; None for a flow of the lab, which uses separate tokens.
        needs: a precondition of the flow: the client holds tokens for this browser, or a user is signed in there.
        base: the module of the flow that this one is compared with.
        parameters: the parameters that this entry adds to the request, if its module is also its base.
        own_flow: the flow, if it is not `module.FLOW`: the client's flow at another provider.
    """

    name: str
    module: ModuleType
    title: str
    summary: str
    description: str
    clause: str
    expected: tuple[str, ...]
    start: Start | None = None
    needs: Need = ""
    base: ModuleType = BASE
    parameters: Mapping[str, str] = field(default_factory=dict)
    own_flow: Flow | None = None

    @property
    def flow(self) -> Flow:
        """The flow that runs."""
        flow: Flow = self.own_flow or self.module.FLOW
        return flow

    @property
    def is_refused(self) -> bool:
        """Whether one of the messages must be rejected."""
        return not SUCCESSES.issuperset(self.expected)

    @property
    def first_refusal(self) -> int:
        """The index of the first message that must be rejected."""
        return next(index for index, outcome in enumerate(self.expected) if outcome not in SUCCESSES)

    @property
    def label(self) -> str:
        """The expected outcome in a few words."""
        if not self.is_refused:
            return "works"
        expected = self.expected[self.first_refusal]
        return "error page, no redirect" if expected == NO_RESPONSE else expected

    @property
    def uses_the_browser(self) -> bool:
        """Whether the browser carries one of the messages."""
        return any(step.diagram == 2 for step in self.flow.steps)

    @property
    def file(self) -> str:
        """The name of the module's file."""
        return file_name(self.module)

    def source(self) -> list[str]:
        """Return the lines of the module."""
        return inspect.getsource(self.module).splitlines()

    def differences(self) -> list[tuple[Change, str]]:
        """Return a diff between the base flow's steps and this flow's; empty for the base flow itself."""
        if self.parameters:
            header = (f"--- {self.file}", f"+++ {self.file}, started as {self.name}", "⋯")
            added = [f'+            "{name}": "{value}",' for name, value in self.parameters.items()]
            return [*(("between", line) for line in header), *(("added", line) for line in added)]
        return _differences(self.base, self.module) if self.own_flow is None else []


def lab_entry(
    module: str,
    flow: Flow,
    *,
    summary: str,
    description: str,
    clause: str,
    expected: tuple[str, ...],
    base: ModuleType = BASE,
) -> Entry:
    """Return the entry of a flow that only the lab has.

    Args:
        module: the flow's module, given as `__name__`.
    """
    return Entry(flow.name, sys.modules[module], flow.title, summary, description, clause, expected, base=base)


def file_name(module: ModuleType) -> str:
    """Return the name of a module's file."""
    return f"{_short_name(module)}.py"


def _short_name(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


@cache
def _differences(base: ModuleType, module: ModuleType) -> list[tuple[Change, str]]:
    names, sources = (file_name(base), file_name(module)), (_flow_source(base, base), _flow_source(module, base))
    diff = list(unified_diff(*sources, *names, lineterm=""))
    return [*(("between", name) for name in diff[:2]), *map(_change, diff[2:])]


def _change(line: str) -> tuple[Change, str]:
    if line.startswith("@@"):  # the line numbers are not those of a file
        return "between", "⋯"
    return ("added" if line.startswith("+") else "removed" if line.startswith("-") else "same"), line


def _flow_source(module: ModuleType, base: ModuleType) -> list[str]:
    """Return the source of a flow's functions in the order in which they run, then that of `FLOW`.

    The order of the definitions in the file makes no difference. A function of the base flow that is called by the
    function of a step runs before it, so it is part of both flows. A function imported from a third module is not
    part of the source: only its name in `FLOW` differs.
    """
    functions = [
        function
        for step in module.FLOW.steps
        for own in (step.build, step.handle)
        for function in (*_called_functions(own, base), own)
        if function.__module__ in {module.__name__, base.__name__}
    ]
    text = inspect.getsource(module)
    definition = next(
        node
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "FLOW"
    )
    parts = [*map(inspect.getsource, dict.fromkeys(functions)), ast.get_source_segment(text, definition) or ""]
    return "\n\n".join(parts).splitlines()


def _called_functions(function: Callable[..., object], base: ModuleType) -> list[Callable[..., object]]:
    source = inspect.getsource(function)
    candidates = [candidate for step in base.FLOW.steps for candidate in (step.build, step.handle)]
    return [each for each in candidates if f"{_short_name(base)}.{each.__name__}(" in source]
