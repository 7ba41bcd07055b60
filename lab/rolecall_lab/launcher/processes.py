"""Processes of the launcher: each in its own group, with its output in a log, and ended when the launcher ends."""

from __future__ import annotations

import ctypes
import json
import multiprocessing
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

STOP_TIMEOUT: Final = 10.0
"""Seconds that a process has to end after SIGTERM."""

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NAME: Final = 15
_LOG_TAIL: Final = 64 * 1024
_REASON: Final = re.compile(r"[A-Za-z_][-\w.]*: \S")
_GUNICORN_PREFIX: Final = re.compile(r"^\[[^]]+\] \[\d+\] \[\w+\] ")
_FORK: Final = multiprocessing.get_context("fork")


class LauncherError(Exception):
    """The lab cannot start or cannot continue; the text is one line for the terminal."""


class Interrupted(Exception):
    """The launcher was asked to end: by Ctrl-C, by SIGTERM, or because the terminal was closed."""


class Watch:
    """Notices signals and ended children, but only inside `pause`, so no other code is ever interrupted."""

    def __init__(self) -> None:
        self._interrupted = False
        self._reader, writer = os.pipe()
        for end in (self._reader, writer):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _signal, _frame: None)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # under nohup, SIGHUP is ignored and must stay ignored
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._interrupt)

    def pause(self, seconds: float | None = None) -> None:
        """Wait until a signal arrives or a child ends, at most `seconds`.

        Raises:
            Interrupted: the launcher was asked to end.
        """
        if not self._interrupted:
            select.select([self._reader], [], [], seconds)
            with suppress(BlockingIOError):
                os.read(self._reader, 1024)
        if self._interrupted:
            raise Interrupted

    def _interrupt(self, _signal: int, _frame: FrameType | None) -> None:
        self._interrupted = True


class Child:
    """A running process; its standard output and standard error go to `log`, which starts empty."""

    def __init__(
        self, name: str, log: Path, process: subprocess.Popen[bytes] | multiprocessing.process.BaseProcess
    ) -> None:
        self.name = name
        self.log = log
        self._process = process
        self.pid = process.pid or 0

    @classmethod
    def spawn(cls, name: str, command: Sequence[str], log: Path, *, environ: Mapping[str, str]) -> Child:
        """Start a program with exactly the environment `environ`.

        Raises:
            OSError: the program cannot be started, or the log cannot be written.
        """
        with _empty(log).open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environ,
                process_group=0,  # Ctrl-C in the terminal is for the launcher only
                preexec_fn=_end_with(os.getpid()),  # noqa: PLW1509  the launcher has no threads
            )
        return cls(name, log, process)

    @classmethod
    def fork(
        cls, name: str, target: Callable[[], None], log: Path, *, environ: Mapping[str, str], keep: Iterable[int] = ()
    ) -> Child:
        """Call `target` in a copy of this process, which has imported what `target` needs.

        Args:
            environ: its whole environment.
            keep: the file descriptors of the launcher that stay open in it.

        Raises:
            OSError: the process cannot be created, or the log cannot be written.
        """
        _empty(log)
        inherited = _open_descriptors() - {0, 1, 2, *keep}
        process = _FORK.Process(
            target=_become, args=(target, name, log, environ, inherited, _end_with(os.getpid())), name=name
        )
        process.start()
        return cls(name, log, process)

    def exit_code(self) -> int | None:
        """Return None while the process runs, and -9 if signal 9 ended it."""
        return self._process.poll() if isinstance(self._process, subprocess.Popen) else self._process.exitcode

    def error(self) -> LauncherError:
        """Describe how the process ended, and where its log is."""
        return LauncherError(f"{self.name} {self.how_it_ended()} [{short(self.log)}]")

    def how_it_ended(self) -> str:
        """Return the predicate of a sentence: the signal, or the exit code and the reason in the log."""
        code = self.exit_code() or 0
        return f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}: {last_words(self.log)}"

    def end(self) -> None:
        """Send SIGTERM."""
        with suppress(OSError):
            self._process.terminate()

    def wait_ended(self, until: float) -> None:
        """Wait until the process and its children have ended; kill any that still run at `until` (monotonic)."""
        timeout = max(0.0, until - monotonic())
        if isinstance(self._process, subprocess.Popen):
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
        else:
            self._process.join(timeout)
        with suppress(OSError):  # the group is empty
            os.killpg(self.pid, signal.SIGKILL)
        if isinstance(self._process, subprocess.Popen):
            self._process.wait()
        else:
            self._process.join()


def stop(children: Iterable[Child]) -> None:
    """End processes at the same time, and wait for all of them."""
    children = list(children)
    for child in children:
        child.end()
    until = monotonic() + STOP_TIMEOUT
    for child in children:
        child.wait_ended(until)


def last_words(log: Path) -> str:
    """Return the reason that a log gives for the end of its process, in one line: its last exception or last line."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _LOG_TAIL))
        lines = [line.rstrip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    lines = [line for text in lines for line in _plain(text)]
    if not lines:
        return "its log is empty"
    ends = [number for number, line in enumerate(lines) if _REASON.match(line)]
    if not ends:
        return lines[-1].strip()
    first = last = ends[-1]
    while first - 1 in ends:
        first -= 1
    return "; ".join(lines[first : last + 1])


def short(path: Path) -> str:
    """Return a path relative to the current directory if it is inside it."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _plain(line: str) -> list[str]:
    """Strip gunicorn's prefix from a line of a log; of a JSON line, return the message and the exception."""
    with suppress(ValueError, AttributeError):
        event = json.loads(line)
        return [str(event["message"]), *str(event.get("exc_info") or "").splitlines()] if "message" in event else []
    return [_GUNICORN_PREFIX.sub("", line)]


def _empty(log: Path) -> Path:
    log.unlink(missing_ok=True)
    log.touch()
    return log


def _open_descriptors() -> set[int]:
    listed = [int(name) for name in os.listdir("/dev/fd")]  # noqa: PTH208  listing opens one more, which is closed again
    still_open = set()
    for descriptor in listed:
        with suppress(OSError):
            os.fstat(descriptor)
            still_open.add(descriptor)
    return still_open


def _become(
    target: Callable[[], None],
    name: str,
    log: Path,
    environ: Mapping[str, str],
    inherited: Iterable[int],
    end_with_launcher: Callable[[], None] | None,
) -> None:
    """Turn this copy of the launcher into the child, and call `target`.

    The objects that own the closed file descriptors belong to frames of the launcher below this one, so they are not
    collected while the child runs.
    """
    os.setpgid(0, 0)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    if end_with_launcher is not None:
        end_with_launcher()
        ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)
    with log.open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    for descriptor in inherited:
        with suppress(OSError):
            os.close(descriptor)
    os.environ.clear()
    os.environ.update(environ)
    target()


def _end_with(launcher: int) -> Callable[[], None] | None:
    """Return what a child calls first, so that the kernel sends it SIGTERM when the launcher dies (Linux only)."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl

    def ask_kernel() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != launcher:  # it died before the call
            os._exit(1)

    return ask_kernel
