"""Named checks: how a service validates a request. Each outcome is visible to a watcher, such as the lab's recorder."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeVar, cast

from rolecall import events
from rolecall.errors import OAuthError

T = TypeVar("T")

registry: dict[str, Check] = {}


class Secret(str):
    """A secret value for `expected` or `actual`: a watcher may recognize it but must not show it."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Check:
    """A rule of a specification.

    Args:
        name: a unique name of the form `place.rule`, for example `token.code_verifier`.
        clause: the section that defines the rule, for example `RFC 7636 section 4.6`.
        error: the error code of the response if the check fails.
        description: the `error_description` of that response; a constant text, which also explains the check.
        status: the HTTP status of that response.
        module: the name of the module that declares the check.
    """

    name: str
    clause: str
    error: str
    description: str
    status: int = 400
    module: str = ""

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
            otherwise: the actual value if the check failed; if it passed, the actual value equals `expected`.
            detail: a text that is only logged.
            description: a constant text that replaces the check's own description, for a rule with several parts.

        Raises:
            OAuthError: `passed` is false.
        """
        if otherwise is not None:
            actual = expected if passed else otherwise
        if not passed:
            raise self.refusal(detail, description, expected=expected, actual=actual)
        if events.is_watched():
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
        """Check that `value` is not None and return it with its type narrowed.

        The other arguments are the same as in `__call__`.

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
        """Record the outcome without raising, for checks whose failure is not reported as an `OAuthError`."""
        if events.is_watched():
            declared = {"name": self.name, "clause": self.clause, "description": self.description}
            events.note("check", **declared, passed=passed, expected=expected, actual=actual)

    def refusal(
        self, detail: str | None = None, description: str | None = None, *, expected: Any = None, actual: Any = None
    ) -> OAuthError:
        """Record a failure and return the error to raise."""
        self.note(False, expected=expected, actual=actual)
        return OAuthError(self.error, description or self.description, detail=detail or self.name, status=self.status)


def define(name: str, clause: str, error: str, description: str, *, status: int = 400) -> Check:
    """Create a check and add it to the registry.

    Raises:
        ValueError: a check of this name exists already.
    """
    if name in registry:
        raise ValueError(f"the check {name} is defined twice")
    registry[name] = Check(name, clause, error, description, status, _caller())
    return registry[name]


def defined_in(*modules: ModuleType) -> tuple[Check, ...]:
    """Return the checks that these modules declare, and for packages those of their imported modules."""
    names = tuple(f"{module.__name__}." for module in modules)
    return tuple(check for check in registry.values() if f"{check.module}.".startswith(names))


def _caller() -> str:
    """Return the name of the module that called the calling function."""
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    assert frame.f_back.f_back is not None
    return str(frame.f_back.f_back.f_globals["__name__"])
