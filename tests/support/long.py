"""The parts of `make test-long`: what each proves, about how long it takes, and which files it belongs to.

python tests/support/long.py               every part
python tests/support/long.py faults fuzz   these parts
python tests/support/long.py --changed --budget 600
    within so many seconds, the parts that belong to files changed in commits less than 4 hours older than HEAD,
    and one more part, chosen by HEAD's commit id

Exit code 1 when a part fails. Parts that do not fit are listed at the end, with their command.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
RECENT: Final = 4 * 3600
"""Seconds before HEAD's commit in which a commit counts as recent."""

_PYTEST = "-n auto --dist loadgroup"
_REPLICAS = 'ARGS="--scale auth-service=3 --scale resource-service=2 --scale client-webapp=2"'


@dataclass(frozen=True)
class Part:
    """A part of the long tests.

    Args:
        proves: for CONTRIBUTING.md and the terminal.
        seconds: about how long it takes, alone on 2 cores; measured.
        paths: a regular expression; a change to a file whose path it matches makes the part run.
        commands: shell commands, from the repository's root, in this order.
        needs: programs without which it cannot run.
    """

    name: str
    proves: str
    seconds: int
    paths: str
    commands: tuple[str, ...]
    needs: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        return f"make test-long PART={self.name}"


PARTS: Final = (
    Part(
        "pages",
        "Every state of every page: headings, focus order, contrast, widths from 180 to 3840 px, print, forced colors",
        200,
        r"templates/|static/|/pages/|tests/(support/)?browser/|compose/front/|observer/",
        ('make test ARGS="-m long tests/browser"',),
        ("chromium",),
    ),
    Part(
        "processes",
        "The running lab at volume and with a wrong clock; damaged recordings; Redis under anonymous load",
        125,
        r"^lab/|tests/(lab|integration)/|gunicorn_conf|worker\.py|limits|storage|full_redis",
        ('make test ARGS="-m long tests/integration tests/lab tests/shared"',),
    ),
    Part(
        "postgresql",
        "The in-process tests on PostgreSQL instead of SQLite",
        200,
        r"models/|migrations/|/sql\.py|patient_postgres|seeds|tests/(migrations|support/databases)",
        (
            "make test-postgres ARGS=\"-m 'not long and not npm and not compose' tests/auth tests/contract tests/fuzz "
            'tests/migrations tests/resource tests/shared tests/lab/test_seeds.py"',
        ),
        ("docker",),
    ),
    Part(
        "races",
        "Codes, tokens, assertions, registrations, and payments that up to 48 requests use simultaneously",
        200,
        r"grants/|models/|/sql\.py|storage|assertion|register|invoices|runner|test_races|support/parallel",
        ('make test ARGS="-m long tests/auth/test_races.py tests/resource/test_races.py tests/client/test_races.py"',),
    ),
    Part(
        "races-postgresql",
        "The same races on PostgreSQL instead of SQLite",
        300,
        r"grants/|models/|/sql\.py|patient_postgres|test_races|support/parallel",
        ('make test-postgres ARGS="-m long tests/auth/test_races.py tests/resource/test_races.py"',),
        ("docker",),
    ),
    Part(
        "load",
        "16 and 64 simultaneous connections on SQLite and PostgreSQL, and slow clients for a minute: no request fails",
        360,
        r"/sql\.py|worker\.py|gunicorn_conf|grants/|tests/load|support/slow_clients",
        (
            'make test JOBS=0 ARGS="-m long tests/load"',
            'make test-postgres JOBS=0 ARGS="-m long tests/load/test_load.py"',
        ),
        ("docker",),
    ),
    Part(
        "rebuild",
        "The set of revoked tokens is rebuilt from 5 million ended authorizations within 200 MB of Redis",
        120,
        r"models/(revocation|authorization)|migrations/|rolecall/sql|tests/auth/test_rebuild",
        ('make test ARGS="-m long tests/auth/test_rebuild_volume.py"',),
    ),
    Part(
        "rebuild-postgresql",
        "The same on PostgreSQL",
        480,
        r"models/revocation|tests/auth/test_rebuild_volume",
        ('make test-postgres ARGS="-m long tests/auth/test_rebuild_volume.py"',),
        ("docker",),
    ),
    Part(
        "volume",
        "With a million rows in each large table, requests need no more SQL statements, and each uses an index",
        120,
        r"models/|migrations/|rolecall/sql|grants/|test_flat_cost",
        ('make test ARGS="-m long tests/auth/test_flat_cost.py"',),
    ),
    Part(
        "volume-postgresql",
        "The same on PostgreSQL",
        240,
        r"models/|migrations/|test_flat_cost",
        ('make test-postgres ARGS="-m long tests/auth/test_flat_cost.py"',),
        ("docker",),
    ),
    Part(
        "issuers",
        "The tests of the authorization server under a path, and two labs whose issuers share a process and a host",
        95,
        r"issuer|hosting|web/(app|headers)|rolecall/clock|auth/settings|side_by_side",
        (
            'ROLECALL_TEST_ISSUER_PATH=/s/one make test ARGS="tests/auth"',
            "ROLECALL_TEST_SIDE_BY_SIDE=1 make test ARGS=\"-m 'not long' tests/integration\"",
        ),
    ),
    Part(
        "faults",
        "28 faults of Redis, PostgreSQL, the network, workers, and clocks under load, with nothing lost or used twice",
        480,
        r"shared/rolecall/|models/|sweep|docker-compose|Dockerfile|^compose/|tests/compose|support/(load|people)",
        (
            "make up",
            'make test-compose ARGS="tests/compose/test_reliability.py tests/compose/test_faults.py '
            'tests/compose/test_hostile.py tests/compose/test_slow_clients.py"',
        ),
        ("docker",),
    ),
    Part(
        "replicas",
        "Several containers of each service under one URL: sessions, codes, keys, and rolling replacement",
        160,
        r"keys|session|storage|docker-compose|Dockerfile|^compose/|tests/compose/test_replicas",
        (
            f"make up HOSTS=localhost-names {_REPLICAS}",
            "make test-compose HOSTS=localhost-names "
            "ARGS=\"tests/compose tests/integration tests/browser -m 'smoke or replicas'\"",
        ),
        ("docker", "chromium"),
    ),
    Part(
        "foreign",
        "Third-party clients, gateways, and API frameworks against the lab, some of them in containers",
        300,
        r"endpoints/|openid|grants/|rolecall_client/(flow|id_token|issuer)|tests/interop|tests/compose/foreign|"
        r"support/(foreign|gateways|node_programs|providers|python_programs)",
        (
            "make up HOSTS=localhost-names",
            "make test-compose HOSTS=localhost-names ARGS=tests/compose/test_foreign.py",
            "make test-interop",
        ),
        ("docker", "npm"),
    ),
    Part(
        "production",
        "`compose.production.yml` with a private certificate authority, and nginx's error responses",
        80,
        r"compose\.production|production\.env|Dockerfile|^compose/|settings\.py|tests/compose/test_(production|front)",
        ("make up", 'make test-compose ARGS="tests/compose/test_production.py tests/compose/test_front.py"'),
        ("docker",),
    ),
    Part(
        "fuzz",
        "10,000 hostile requests to a running lab, then all property-based, model-based, and schema tests at volume",
        300,
        r"endpoints/|parameters\.py|clients/|openapi|tests/(support/)?fuzz|rolecall/web/|http\.py",
        ("make fuzz REQUESTS=10000",),
    ),
)


def main() -> int:
    options = argparse.ArgumentParser(description="Run the long tests, part by part.")
    options.add_argument("parts", nargs="*", metavar="PART", help=", ".join(part.name for part in PARTS))
    options.add_argument("--changed", action="store_true", help="only what recent commits touch, and one more")
    options.add_argument("--budget", type=float, default=float("inf"), metavar="SECONDS")
    asked = options.parse_args()
    if unknown := {*asked.parts} - {part.name for part in PARTS}:
        options.error(f"unknown part {', '.join(sorted(unknown))}; the parts are {', '.join(p.name for p in PARTS)}")
    parts = [part for part in PARTS if part.name in asked.parts or not asked.parts]
    if asked.changed:
        parts = chosen(changed_files(), _git("rev-parse", "HEAD"))
    return run(parts, time.monotonic() + asked.budget)


def chosen(files: list[str], commit: str) -> list[Part]:
    """Return the parts that the files belong to, and one of the others that the commit's id picks."""
    touched = [part for part in PARTS if any(re.search(part.paths, file) for file in files)]
    others = [part for part in PARTS if part not in touched]
    return touched + ([others[int(commit, 16) % len(others)]] if others else [])


def changed_files() -> list[str]:
    """Return the paths that commits changed that are less than four hours older than HEAD."""
    since = int(_git("log", "-1", "--format=%ct")) - RECENT
    return sorted({*_git("log", f"--since={since}", "--format=", "--name-only").split("\n")} - {""})


def run(parts: list[Part], deadline: float) -> int:
    """Run one part after the other while there is time; return the exit code."""
    failed: list[Part] = []
    not_run: list[tuple[Part, str]] = []
    for part in parts:
        left = deadline - time.monotonic()
        if missing := [program for program in part.needs if shutil.which(program) is None]:
            not_run.append((part, f"needs {', '.join(missing)}"))
        elif part.seconds > left:
            not_run.append((part, f"takes about {part.seconds} s, and {max(left, 0):.0f} s are left"))
        else:
            say(f"part {part.name}: {part.proves} (about {part.seconds} s)")
            began = time.monotonic()
            outcome = _run_part(part, left)
            say(f"part {part.name}: {outcome} after {time.monotonic() - began:.0f} s")
            if outcome == "failed":
                failed.append(part)
            elif outcome == "out of time":
                not_run.append((part, "did not end in time"))
    for part, reason in not_run:
        say(f"not run: {part.name} ({reason}); run it with: {part.command}")
    for part in failed:
        say(f"failed: {part.name}; run it alone with: {part.command}")
    return 1 if failed else 0


def _run_part(part: Part, seconds: float) -> str:
    """Run the commands of a part, and end their processes when the time is over."""
    deadline = time.monotonic() + seconds
    for command in part.commands:
        with subprocess.Popen(command, shell=True, cwd=ROOT, start_new_session=True) as process:
            try:
                process.wait(None if deadline == float("inf") else max(deadline - time.monotonic(), 0.1))
            except BaseException as error:
                os.killpg(process.pid, signal.SIGTERM)
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                return "out of time"
        if process.returncode:
            return "failed"
    return "passed"


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
