"""Set up `.venv`: `lab/install.py` creates it, and `lab/install.py requirements/lab.txt` installs a lock into it."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
LOG = VENV / "install.log"
FOLDERS = ("shared", "auth-service", "resource-service", "client-webapp", "lab")


def make_venv() -> None:
    """Create an empty environment with the Python that runs this script."""
    version = ".".join(map(str, sys.version_info[:3]))
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        fail(f"{sys.executable} (Python {version}) has no venv; on Debian and Ubuntu: apt install python3-venv")
    say("Python", f"{version}, creating .venv ...")
    command = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        fail(f"the virtual environment could not be created: {last_line(done.stdout)}")


def install(lock: str) -> None:
    """Install the packages of a lock into the environment that runs this script."""
    say("Packages", f"installing {lock} ...")
    began = time.monotonic()
    # settings of the user's pip must not redirect the installation
    environ = {name: value for name, value in os.environ.items() if name not in {"PIP_TARGET", "PIP_PREFIX"}}
    environ |= {"PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    # the lock is complete, so pip does not have to resolve anything
    command = [sys.executable, "-m", "pip", "install", "--require-hashes", "--no-deps", "--progress-bar=off"]
    with (
        LOG.open("w") as log,
        subprocess.Popen(
            [*command, "-r", lock], cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as pip,
    ):
        assert pip.stdout is not None
        for line in pip.stdout:
            log.write(line)
            if line.startswith("Installing"):
                passing("unpacking")
            elif package := re.match(r"(?:Collecting|Requirement already satisfied:) (\S+)", line):
                passing(package[1])
        passing("")
    if pip.returncode:
        output = LOG.read_text()
        reasons = [line.removeprefix("ERROR: ") for line in output.splitlines() if line.startswith("ERROR: ")]
        reason = reasons[-1] if reasons else last_line(output)
        if "Retrying" in output or "onnection" in output:
            reason = "the package index does not respond"
        fail(f"the packages could not be installed: {reason} [{LOG}]")
    say("", f"done in {time.monotonic() - began:.0f} s")


def write_path() -> None:
    """Put the packages of this checkout on the path of the environment; relative, so that the folder can be moved."""
    packages = Path(importlib.util.find_spec("pip").origin).parents[1]  # type: ignore[union-attr, arg-type]
    lines = [os.path.relpath(ROOT / folder, packages.resolve()) for folder in FOLDERS]
    (packages / "rolecall.pth").write_text("".join(f"{line}\n" for line in lines))


def say(what: str, text: str) -> None:
    """Print a line of progress."""
    print(f"{what:<11}{text}", flush=True)


def passing(text: str) -> None:
    """Print progress that the next line replaces, if standard output is a terminal."""
    if sys.stdout.isatty():
        print(f"\r\033[K{'':<11}{text}" if text else "\r\033[K", end="", flush=True)


def last_line(text: str) -> str:
    """Return the last line of a program's output that is not empty."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no reason given")


def fail(text: str) -> None:
    """Exit with one line of text."""
    sys.exit(f"rolecall: {text}")


if __name__ == "__main__":
    try:
        if len(sys.argv) > 1:
            install(sys.argv[1])
            write_path()
        else:
            make_venv()
    except KeyboardInterrupt:
        fail("stopped")
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")
