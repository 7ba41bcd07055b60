"""Settings from the environment: a frozen dataclass a service, read once, every fault reported together."""

from __future__ import annotations

import dataclasses
import re
import ssl
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, Self, TypeVar, dataclass_transform
from urllib.parse import urlsplit

from cryptography.fernet import Fernet, MultiFernet

_CONTAINER: Final = re.compile(r"[a-z][a-z0-9-]*")

T = TypeVar("T")

LAB_MARK = "lab-only-"
"""Every secret that the lab publishes begins with this; production refuses such a value."""


class SettingsError(Exception):
    """Some settings are missing or wrong; `faults` has a line for each."""

    def __init__(self, service: str, faults: list[str]) -> None:
        self.faults = faults
        super().__init__(f"{service} cannot start: " + "; ".join(faults))


def setting(
    doc: str,
    *,
    default: Any = dataclasses.MISSING,
    secret: bool = False,
    https: bool = False,
    parse: Callable[[str], Any] | None = None,
) -> Any:
    """Declare a setting; its environment variable is the field's name in capitals.

    Args:
        doc: one line for the table in the README.
        default: the value without the variable; none means that it must be set. Secrets have no default.
        secret: never shown, and refused in production when it is the lab's or short.
        https: an address that production wants to be https.
        parse: turns the text into the value, raising ValueError with a reason.
    """
    return dataclasses.field(default=default, metadata={"doc": doc, "secret": secret, "https": https, "parse": parse})


def identifier(text: str) -> str:
    """A URL that names somebody and is compared as it stands, a slash at its end included (RFC 8414 section 2)."""
    url(text)
    return text


def url(text: str) -> str:
    """An absolute http or https URL without query, fragment or trailing slash."""
    parts = urlsplit(text)
    strange = any(mark in text for mark in "?#@\\ ") or not text.isprintable()
    if parts.scheme not in {"http", "https"} or not parts.hostname or strange:
        raise ValueError("must be an http or https URL without user, query and fragment")
    _ = parts.port
    return text.rstrip("/")


def urls(text: str) -> tuple[str, ...]:
    """Several URLs, separated by commas."""
    return tuple(url(part.strip()) for part in text.split(",") if part.strip())


def proxies(text: str) -> int:
    """A number of proxies."""
    number = int(text)
    if not 0 <= number <= 9:
        raise ValueError("must be a number from 0 to 9")
    return number


def seconds(text: str) -> int:
    """A number of seconds above zero."""
    number = int(text)
    if number <= 0:
        raise ValueError("must be a number of seconds above zero")
    return number


def fernet_keys(text: str) -> MultiFernet:
    """Fernet keys, separated by commas: the first one seals, all of them open."""
    try:
        return MultiFernet([Fernet(key.strip()) for key in text.split(",")])
    except ValueError as error:
        raise ValueError("must be Fernet keys: 32 bytes each, in URL-safe base64") from error


def certificates(text: str) -> str:
    """The path of a file that holds certificates."""
    try:
        ssl.create_default_context(cafile=text)
    except ssl.SSLError as error:
        raise ValueError(f"{text} holds no certificates in PEM form") from error
    except OSError as error:
        raise ValueError(f"{text} cannot be read ({error.strerror})") from error
    return text


def one_of(*choices: str) -> Callable[[str], str]:
    """One of the given words."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return text

    parse.__doc__ = f"one of {', '.join(choices)}"
    return parse


def is_loopback(address: str) -> bool:
    """Whether a URL's host is loopback, `*.localhost` or `*.test`."""
    host = urlsplit(address).hostname or ""
    return host in {"localhost", "127.0.0.1", "::1"} or host.endswith((".localhost", ".test"))


def is_container(address: str) -> bool:
    """Whether a URL's host is a name without a dot, as containers have: nobody on the Internet has one."""
    return _CONTAINER.fullmatch(urlsplit(address).hostname or "") is not None


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(setting, dataclasses.field))
def settings_class(cls: type[T]) -> type[T]:
    """Make a class of settings: a frozen dataclass whose fields are given by name."""
    return dataclasses.dataclass(frozen=True, kw_only=True)(cls)


@settings_class
class ServiceSettings:
    """What every service has, and how all of it is read.

    `lab` does not come from the environment: only the lab package sets it, and refuses any address that is not local.
    """

    SERVICE: ClassVar[str] = "service"

    secret_key: str = setting("Signs cookies and CSRF tokens; 32 characters or more.", secret=True)
    log_level: str = setting(
        "The lowest level that is logged.", default="INFO", parse=one_of("DEBUG", "INFO", "WARNING", "ERROR")
    )
    trusted_proxies: int = setting(
        "How many proxies in front may set X-Forwarded-For, -Proto and -Host.", default=0, parse=proxies
    )
    lab: bool = False

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], *, lab: bool = False) -> Self:
        """Read every setting.

        Raises:
            SettingsError: with all the faults found.
        """
        values: dict[str, Any] = {"lab": lab}
        faults: list[str] = []
        for field in declared_settings(cls):
            name = field.name.upper()
            try:
                text = _text(environ, name)
            except OSError as error:
                faults.append(f"{name}_FILE cannot be read: {error.strerror}")
                continue
            if not text:
                if field.default is dataclasses.MISSING:
                    faults.append(f"{name} is not set")
                continue
            try:
                parse = field.metadata["parse"]
                values[field.name] = parse(text) if parse else text
            except ValueError as error:
                faults.append(f"{name}: {error}")
                continue
            if field.metadata["https"] and not lab and not text.startswith("https://"):
                faults.append(f"{name} must be an https address")
            if LAB_MARK in text and not lab:
                faults.append(f"{name} is the lab's published value; make one of your own")
            elif field.metadata["secret"] and len(text) < 32 and not lab:
                faults.append(f"{name} is shorter than 32 characters")
        if not faults:
            settings = cls(**values)
            faults = settings.faults()
            if not faults:
                return settings
        raise SettingsError(cls.SERVICE, faults)

    def faults(self) -> list[str]:
        """What is wrong between settings that are each right; services extend it."""
        return []

    @property
    def keep_expired(self) -> int:
        """Seconds that Redis keeps what has expired: long in the lab, whose clock can be turned back."""
        return 86400 if self.lab else 60


def declared_settings(cls: type[ServiceSettings]) -> list[dataclasses.Field[Any]]:
    """The fields of a service's settings that come from the environment, in order."""
    return [field for field in dataclasses.fields(cls) if "doc" in field.metadata]


def type_name(cls: type[ServiceSettings], field: dataclasses.Field[Any]) -> str:
    """What the README's table says of a setting's form."""
    parse = field.metadata["parse"]
    if parse in {identifier, url, urls, seconds, certificates}:
        return {identifier: "URL", url: "URL", urls: "URLs", seconds: "seconds", certificates: "path"}[parse]
    if parse is not None and (parse.__doc__ or "").startswith("one of"):
        return str(parse.__doc__)
    hint: object = typing.get_type_hints(cls)[field.name]
    return {int: "number", str: "text"}.get(hint, "text")  # type: ignore[call-overload, no-any-return]


def _text(environ: Mapping[str, str], name: str) -> str:
    """The variable's value, or what stands in the file that `<name>_FILE` names, as container secrets come."""
    file = environ.get(f"{name}_FILE", "").strip()
    if file and not environ.get(name):
        return Path(file).read_text(encoding="utf-8").strip()
    return environ.get(name, "").strip()
