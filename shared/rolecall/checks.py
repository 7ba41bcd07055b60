"""How a service decides anything about a request: a named check that refuses, and that a watcher can see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar, cast

from rolecall import events
from rolecall.errors import OAuthError

T = TypeVar("T")

registry: dict[str, Check] = {}


class Secret(str):
    """A value that a watcher may recognise but never show: pass secrets to a check as `Secret(value)`."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Check:
    """A rule of a specification.

    Args:
        name: unique, `place.rule`, for example `token.code_verifier`.
        clause: where the rule stands, for example `RFC 7636 section 4.6`.
        error: the error code a failure is answered with.
        description: what the client is told; fixed text.
        status: HTTP status of a failure.
    """

    name: str
    clause: str
    error: str
    description: str
    status: int = 400

    def __call__(
        self,
        passed: bool,
        *,
        expected: Any = None,
        actual: Any = None,
        otherwise: str | None = None,
        detail: str | None = None,
        description: str | None = None,
    ) -> None:
        """Record the outcome, and raise if the check failed.

        Args:
            otherwise: the actual value if the check failed; if it passed, the actual value is the expected one.
            detail: for the log only.
            description: a fixed text that replaces the description of the check, where a rule has several parts.

        Raises:
            OAuthError: `passed` is false.
        """
        if otherwise is not None:
            actual = expected if passed else otherwise
        if not passed:
            raise self.refusal(detail, description, expected=expected, actual=actual)
        self.note(True, expected=expected, actual=actual)

    def require(
        self,
        value: T | None,
        *,
        expected: Any = None,
        actual: Any = None,
        otherwise: str | None = None,
        detail: str | None = None,
        description: str | None = None,
    ) -> T:
        """Return `value` if it is not None, with its type narrowed; the arguments are those of a call.

        Raises:
            OAuthError: `value` is None.
        """
        self(
            value is not None,
            expected=expected,
            actual=actual,
            otherwise=otherwise,
            detail=detail,
            description=description,
        )
        return cast("T", value)

    def note(self, passed: bool, *, expected: Any = None, actual: Any = None) -> None:
        """Only let a watcher see the outcome, for checks whose refusal has a form of its own."""
        events.note("check", name=self.name, passed=passed, expected=expected, actual=actual, clause=self.clause)

    def refusal(
        self, detail: str | None = None, description: str | None = None, *, expected: Any = None, actual: Any = None
    ) -> OAuthError:
        """The error that this check answers with; the outcome is noted."""
        self.note(False, expected=expected, actual=actual)
        return OAuthError(self.error, description or self.description, detail=detail or self.name, status=self.status)


def define(name: str, clause: str, error: str, description: str, *, status: int = 400) -> Check:
    """Enter a check into the registry.

    Raises:
        ValueError: the name is taken.
    """
    if name in registry:
        raise ValueError(f"the check {name} is defined twice")
    registry[name] = Check(name, clause, error, description, status)
    return registry[name]
