"""Settings from the environment: one frozen dataclass per service, read once, with all errors reported together."""

from __future__ import annotations

import dataclasses
import re
import socket
import ssl
import typing
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, ClassVar, Final, Self, TypeVar, dataclass_transform
from urllib.parse import urlsplit

from cryptography.fernet import Fernet, MultiFernet

_CONTAINER: Final = re.compile(r"[a-z][a-z0-9-]*")

_IPV4_NUMBERS: Final = re.compile(r"[0-9a-fx.]+")
_EMPTY_HEXADECIMAL: Final = re.compile(r"\b0x(?![0-9a-f])")

T = TypeVar("T")

LAB_MARK = "lab-only-"
"""The prefix of all secrets that the lab publishes; production rejects them."""


class SettingsError(Exception):
    """Settings of `service` are missing or invalid; `faults` has a line for each of them."""

    def __init__(self, service: str, faults: list[str]) -> None:
        self.service = service
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
    """Declare a setting; its environment variable is the name of the field in upper case.

    Args:
        doc: one line for the table in docs/settings.md.
        default: the value if the variable is not set; a setting without a default is required. Secrets have none.
        secret: never show the value; in production, reject it if it is short or published by the lab.
        https: in production, reject a URL that does not use https.
        parse: converts the text to the value; raises ValueError with a reason.
    """
    return dataclasses.field(default=default, metadata={"doc": doc, "secret": secret, "https": https, "parse": parse})


def identifier(text: str) -> str:
    """Parse a URL that is compared as a string, including a trailing slash (RFC 8414 section 2)."""
    url(text)
    return text


def url(text: str) -> str:
    """Parse an absolute http or https URL without query or fragment; remove a trailing slash."""
    parts = urlsplit(text)
    has_forbidden = any(character in text for character in "?#@\\ ") or not text.isprintable()
    if parts.scheme not in {"http", "https"} or not parts.hostname or has_forbidden:
        raise ValueError("must be an http or https URL without user name, query, or fragment")
    _ = parts.port
    return text.rstrip("/")


def urls(text: str) -> tuple[str, ...]:
    """Parse a comma-separated list of URLs."""
    return tuple(url(part.strip()) for part in text.split(",") if part.strip())


def proxies(text: str) -> int:
    """Parse a number of proxies."""
    number = int(text)
    if not 0 <= number <= 9:
        raise ValueError("must be a number from 0 to 9")
    return number


def seconds(text: str) -> int:
    """Parse a positive number of seconds."""
    number = int(text)
    if number <= 0:
        raise ValueError("must be a positive number of seconds")
    return number


def whole_seconds(text: str) -> int:
    """Parse a number of seconds, which may be 0."""
    number = int(text)
    if number < 0:
        raise ValueError("must be a number of seconds, or 0")
    return number


def fernet_keys(text: str) -> MultiFernet:
    """Parse a comma-separated list of Fernet keys: the first one encrypts, all of them decrypt."""
    try:
        return MultiFernet([Fernet(key.strip()) for key in text.split(",")])
    except ValueError as error:
        raise ValueError("must be Fernet keys: 32 bytes each, in URL-safe base64") from error


def certificates(text: str) -> str:
    """Check that the file at this path contains certificates."""
    try:
        ssl.create_default_context(cafile=text)
    except ssl.SSLError as error:
        raise ValueError(f"{text} contains no PEM certificates") from error
    except OSError as error:
        raise ValueError(f"{text} cannot be read ({error.strerror})") from error
    return text


def one_of(*choices: str) -> Callable[[str], str]:
    """Return a parser that accepts only these values."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return text

    parse.__doc__ = f"one of {', '.join(choices)}"
    return parse


def is_loopback(address: str) -> bool:
    """Return whether the host of a URL is a loopback address, `localhost`, `*.localhost`, or `*.test`.

    Upper case and trailing dots make no difference. An address may have every form that browsers read: short, octal, or
    hexadecimal IPv4 addresses, and IPv4 addresses inside IPv6 ones (URL Standard section 3.5).
    """
    host = (urlsplit(address).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith((".localhost", ".test")):
        return True
    try:
        if ":" in host:
            ipv6 = IPv6Address(host)
            # before Python 3.13, is_loopback does not look at the embedded IPv4 address
            return (ipv6.ipv4_mapped or ipv6).is_loopback
        # inet_aton ignores text after a space, and rejects a number without digits, which browsers read as 0
        is_ipv4 = _IPV4_NUMBERS.fullmatch(host) is not None
        return is_ipv4 and IPv4Address(socket.inet_aton(_EMPTY_HEXADECIMAL.sub("0", host))).is_loopback
    except (OSError, ValueError):
        return False


def is_container(address: str) -> bool:
    """Return whether the host of a URL is a name without a dot: containers have such names, Internet hosts do not."""
    return _CONTAINER.fullmatch(urlsplit(address).hostname or "") is not None


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(setting, dataclasses.field))
def settings_class(cls: type[T]) -> type[T]:
    """Turn a class into a settings class: a frozen dataclass with keyword-only fields."""
    return dataclasses.dataclass(frozen=True, kw_only=True)(cls)


def add_settings(settings: Mapping[str, Any]) -> Callable[[type[T]], type[T]]:
    """Return a decorator that appends settings to a settings class: the rows of a table, by name."""

    def add(cls: type[T]) -> type[T]:
        fields = [(name, object, declared) for name, declared in settings.items()]
        details = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
        return dataclasses.make_dataclass(
            cls.__name__, fields, bases=(cls,), namespace=details, frozen=True, kw_only=True
        )

    return add


@settings_class
class ServiceSettings:
    """The settings that every service has, and the code that reads them.

    `lab` does not come from the environment. Only the lab package sets it, which rejects all URLs that are not local.
    """

    SERVICE: ClassVar[str] = "service"

    secret_key: str = setting("Signs cookies and CSRF tokens; 32 characters or more.", secret=True)
    log_level: str = setting("The lowest log level.", default="INFO", parse=one_of("DEBUG", "INFO", "WARNING", "ERROR"))
    trusted_proxies: int = setting(
        "Number of reverse proxies trusted to set, or append to, X-Forwarded-For, -Proto, and -Host; 0 ignores these "
        "headers.",
        default=0,
        parse=proxies,
    )
    lab: bool = False

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], *, lab: bool = False) -> Self:
        """Read and validate all settings.

        Raises:
            SettingsError: some settings are missing or invalid.
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
                faults.append(f"{name} must be an https URL")
            if LAB_MARK in text and not lab:
                faults.append(f"{name} is a value that the lab publishes; generate your own")
            elif field.metadata["secret"] and len(text) < 32 and not lab:
                faults.append(f"{name} is shorter than 32 characters")
        if not faults:
            settings = cls(**values)
            faults = settings.faults()
            if not faults:
                return settings
        raise SettingsError(cls.SERVICE, faults)

    def faults(self) -> list[str]:
        """Return errors in combinations of settings that are valid individually; services extend this."""
        return []

    @property
    def keep_expired(self) -> int:
        """Seconds that Redis keeps expired entries: longer in the lab, whose clock can be set back."""
        return 86400 if self.lab else 60


def declared_settings(cls: type[ServiceSettings]) -> list[dataclasses.Field[Any]]:
    """Return the settings of a class that come from the environment, in the order of their declaration."""
    return [field for field in dataclasses.fields(cls) if "doc" in field.metadata]


def type_name(cls: type[ServiceSettings], field: dataclasses.Field[Any]) -> str:
    """Describe the type of a setting for the table in docs/settings.md."""
    parse = field.metadata["parse"]
    names = {identifier: "URL", url: "URL", urls: "URLs", seconds: "seconds", whole_seconds: "seconds"}
    if parse in {*names, certificates}:
        return {**names, certificates: "path"}[parse]
    if parse is not None and (parse.__doc__ or "").startswith("one of"):
        return str(parse.__doc__)
    hint: object = typing.get_type_hints(cls)[field.name]
    return {int: "number", str: "text"}.get(hint, "text")  # type: ignore[call-overload, no-any-return]


def _text(environ: Mapping[str, str], name: str) -> str:
    """Return the value of a variable, or the content of the file in `<name>_FILE`, as used for container secrets."""
    file = environ.get(f"{name}_FILE", "").strip()
    if file and not environ.get(name):
        return Path(file).read_text(encoding="utf-8").strip()
    return environ.get(name, "").strip()
