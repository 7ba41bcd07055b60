"""The result of an attack with the hostile corpus."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Finding:
    """A fault, and the request that showed it, if any."""

    number: int
    service: str
    fault: str
    twists: list[str] = field(default_factory=list)
    sent: bytes = b""
    received: bytes = b""
    seconds: float = 0.0

    def __str__(self) -> str:
        twists = ", ".join(self.twists) or "not twisted"
        return (
            f"#{self.number} {self.service}: {self.fault} ({twists}; {self.seconds:.2f} s)\n"
            f"  sent {len(self.sent)} bytes: {_short(self.sent)}\n"
            f"  received {len(self.received)} bytes: {_short(self.received)}"
        )


@dataclass(frozen=True)
class RedisContents:
    """The contents of Redis at one moment.

    Args:
        persistent: the keys that never expire.
        persistent_bytes: the memory that they take.
    """

    keys: int
    persistent: frozenset[bytes]
    persistent_bytes: int
    used_bytes: int


@dataclass
class Report:
    """The requests that were sent, and the findings.

    Args:
        retried: requests that were sent again, by reason.
        slowest: seconds and number of the slowest request of each service.
        memory: bytes per worker of each service, over time.
        redis: the contents of Redis before and after the attack; empty if Redis cannot be reached.
    """

    tried: Counter[str] = field(default_factory=Counter)
    retried: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    slowest: dict[str, tuple[float, int]] = field(default_factory=dict)
    memory: dict[str, list[float]] = field(default_factory=dict)
    redis: list[RedisContents] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def _short(data: bytes) -> str:
    text = repr(data)[2:-1]
    return text if len(text) <= 1500 else f"{text[:1200]} ... {text[-300:]}"
