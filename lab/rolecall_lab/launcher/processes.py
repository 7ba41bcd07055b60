"""Processes of the launcher: each in a group of its own, its output in a log, and gone when the launcher is gone."""

from __future__ import annotations

import ctypes
import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Final

from rolecall.clock import monotonic

PATIENCE: Final = 10.0
"""Seconds that a process gets to end by itself."""

_PR_SET_PDEATHSIG: Final = 1
_LOG_TAIL: Final = 64 * 1024
_REASON: Final = re.compile(r"[A-Za-z_][-\w.]*: \S")
_GUNICORN_PREFIX: Final = re.compile(r"^\[[^]]+\] \[\d+\] \[\w+\] ")


class Fault(Exception):
    """The lab cannot start or go on; the text is one line for the person at the terminal."""


class Ended(Exception):
    """Somebody asked the launcher to end: Ctrl-C, SIGTERM, or the terminal is gone."""


class Watch:
    """Notices signals and ended children, and only inside `pause`: nothing else is ever interrupted half-way."""

    def __init__(self) -> None:
        self._asked = False
        self._reader, writer = os.pipe()
        for end in (self._reader, writer):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _signal, _frame: None)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # nohup means that the terminal may go
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._ask)

    def pause(self, seconds: float | None = None) -> None:
        """Wait until something happens, `seconds` at most.

        Raises:
            Ended: the launcher shall end.
        """
        if not self._asked:
            select.select([self._reader], [], [], seconds)
            with suppress(BlockingIOError):
                os.read(self._reader, 1024)
        if self._asked:
            raise Ended

    def _ask(self, _signal: int, _frame: FrameType | None) -> None:
        self._asked = True


class Child:
    """A running process; its standard output and standard error go to `log`, which begins anew.

    Args:
        environ: all of its environment.
        pass_fds: file descriptors that it inherits.

    Raises:
        OSError: it cannot be started, or the log cannot be written.
    """

    def __init__(
        self, name: str, command: Sequence[str], log: Path, *, environ: Mapping[str, str], pass_fds: Iterable[int] = ()
    ) -> None:
        self.name = name
        self.log = log
        log.unlink(missing_ok=True)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environ,
                pass_fds=tuple(pass_fds),
                process_group=0,  # Ctrl-C in the terminal is for the launcher alone
                preexec_fn=_die_with(os.getpid()),  # noqa: PLW1509  the launcher has no threads
            )
        self.pid = self._process.pid

    def exit_code(self) -> int | None:
        """None while it runs; -9 when it was ended by signal 9."""
        return self._process.poll()

    def fault(self) -> Fault:
        """That it ended, why, and where its log is."""
        code = self.exit_code() or 0
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}: {last_words(self.log)}"
        return Fault(f"{self.name} {how} [{short(self.log)}]")

    def end(self) -> None:
        """Ask it to end."""
        with suppress(OSError):
            self._process.terminate()

    def wait_gone(self, until: float) -> None:
        """Wait until it and its own children are gone; what still runs at `until` (monotonic seconds) is killed."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, until - monotonic()))
        with suppress(OSError):  # nobody is left in the group
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()


def stop(children: Iterable[Child]) -> None:
    """End them together, and wait until all are gone."""
    children = list(children)
    for child in children:
        child.end()
    until = monotonic() + PATIENCE
    for child in children:
        child.wait_gone(until)


def last_words(log: Path) -> str:
    """What a log tells of its process's end, in one line: the last exception, else the last line."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _LOG_TAIL))
        lines = [line.rstrip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    lines = [line for text in lines for line in _plain(text)]
    if not lines:
        return "it said nothing"
    ends = [number for number, line in enumerate(lines) if _REASON.match(line)]
    if not ends:
        return lines[-1].strip()
    first = last = ends[-1]
    while first - 1 in ends:
        first -= 1
    return "; ".join(lines[first : last + 1])


def short(path: Path) -> str:
    """A path as a person at this terminal would write it."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _plain(line: str) -> list[str]:
    """A line of a log as a person reads it: without gunicorn's prefix; of JSON the message and the exception."""
    with suppress(ValueError, AttributeError):
        event = json.loads(line)
        return [str(event["message"]), *str(event.get("exc_info") or "").splitlines()] if "message" in event else []
    return [_GUNICORN_PREFIX.sub("", line)]


def _die_with(parent: int) -> Callable[[], None] | None:
    """What a child does first, so that it gets SIGTERM when the launcher dies, however that happens. Linux only."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it died before the call
            os._exit(1)

    return ask
