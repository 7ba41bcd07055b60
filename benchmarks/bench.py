"""Measure the services in their production form: `make bench`.

ROWS=refresh,userinfo    only the rows whose names begin with one of these
COMPARE=commit           an older version too, in turns
PEERS=1                  node-oidc-provider and oauth2-mock-server too (needs npm)
GUNICORN="--threads 4"   other options for gunicorn
ROUNDS=3  SECONDS=2      how often, and for how long, each row is measured

Each figure is the median of the rounds: requests or flows per second, times, processor time of one, SQL statements, and
Redis round trips. The services, Redis, and the empty route are on the last core, and the load is
on the first one. Processor time is that of all processes of a service; it depends less on the rest of the machine than
rates and times do. All traffic stays on loopback. Exit code 1: a request failed, or the recorder costs too much.
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from versions import ROOT, Version, compared

sys.path[:0] = [str(ROOT / "shared"), str(ROOT / "lab")]

import peers
import recorder
from ceilings import ceilings
from rows import EMPTY, USERS, Row, chosen, counts
from servers import CORES, Load, Site, site

COUNTED = 40
"""Requests after which SQL statements and Redis round trips are counted."""

MOST_REQUESTS = 50_000


@dataclass
class Figures:
    """The figures of a row for one site, one per round."""

    rates: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)
    sql: float | None = None
    redis: float | None = None


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that all started processes are stopped
    rows = chosen(os.environ.get("ROWS", ""))
    rounds, seconds = int(os.environ.get("ROUNDS") or 3), float(os.environ.get("SECONDS") or 2)
    with ExitStack() as ends:
        versions = ends.enter_context(compared(os.environ.get("COMPARE", "")))
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="rolecall-bench-")))
        load = ends.enter_context(Load())
        sites = {each.name: ends.enter_context(site(each, folder / f"{n}")) for n, each in enumerate(versions)}
        if os.environ.get("PEERS"):
            sites |= ends.enter_context(peers.sites(folder))
        figures = measure(load, sites, rows, rounds, seconds)
        memory = {name: each.servers["auth"].memory() for name, each in sites.items()}
        for number, version in enumerate(versions):
            count(version, folder / f"counted-{number}", load, rows, figures[version.name])
        print(f"{len(CORES)} cores, {USERS} connections, {rounds} rounds of {seconds:g} s\n")
        print("\n".join(table(rows, figures)))
        if len(versions) > 1:
            print("\n" + "\n".join(ratios(rows, figures, versions)))
        print("\n| memory of the authorization server | MB |\n| --- | --- |")
        for name, used in memory.items():
            print(f"| {name} | {used / 2**20:.0f} |")
        print("\n| at most, one core | per second |\n| --- | --- |")
        for name, number in ceilings():
            print(f"| {name} | {number:,.0f} |")
        lines, ratio = recorder.measure(versions)
        print("\n" + "\n".join(lines))
    errors = False
    for name, of in figures.items():
        for kind, each in of.items():
            for text, number in each.errors.items():
                print(f"bench: {name}, {kind}: {number} times: {text}", file=sys.stderr)
                errors = True
    return 1 if recorder.is_too_slow(versions, ratio) or errors else 0


def measure(
    load: Load, sites: Mapping[str, Site], rows: Sequence[Row], rounds: int, seconds: float
) -> dict[str, dict[str, Figures]]:
    """Return the figures of each site and row; the sites take turns."""
    figures = {name: {row.name: Figures() for row in rows if name_has(each, row)} for name, each in sites.items()}
    for number in range(rounds + 1):
        for row in rows:
            for name, each in sites.items():
                if row.name in figures[name]:
                    warm = number > 0
                    run(load, each, row, seconds if warm else 0.5, figures[name][row.name] if warm else Figures())
    return figures


def name_has(each: Site, row: Row) -> bool:
    return all(server in each.servers for server in row.servers) and (each.rows is None or row.name in each.rows)


def run(load: Load, each: Site, row: Row, seconds: float, figures: Figures) -> None:
    """Run a row once and add its figures."""
    job: dict[str, Any] = {**row.job(each, USERS), "users": USERS, "seconds": seconds, "requests": MOST_REQUESTS}
    servers = [each.servers[name] for name in row.servers]
    before = sum(server.processor_time() for server in servers)
    result = load.run({**job, "host": servers[0].url})
    used = sum(server.processor_time() for server in servers) - before
    times = sorted(result["times"])
    for text, number in result["errors"].items():
        figures.errors[text] = figures.errors.get(text, 0) + number
    if times:
        figures.rates.append(len(times) / result["seconds"])
        figures.p50.append(times[len(times) // 2])
        figures.p99.append(times[len(times) * 99 // 100])
        figures.processor.append(used / len(times) * 1e6)


def count(version: Version, folder: Path, load: Load, rows: Sequence[Row], figures: dict[str, Figures]) -> None:
    """Count the SQL statements and Redis round trips of each row."""
    with site(version, folder, count=True) as each:
        for row in rows:
            job = {**row.job(each, 1), "users": 1, "seconds": 10, "host": each.servers[row.servers[0]].url}
            load.run({**job, "requests": 5})  # caches are filled
            job = {**row.job(each, 1), "users": 1, "seconds": 10, "host": job["host"]}
            before = counts(each, row.servers)
            done = len(load.run({**job, "requests": COUNTED})["times"])
            after = counts(each, row.servers)
            figures[row.name].sql = (after["sql"] - before["sql"]) / done
            figures[row.name].redis = (after["redis"] - before["redis"]) / done


def table(rows: Sequence[Row], figures: Mapping[str, Mapping[str, Figures]]) -> list[str]:
    """Return the lines of the main table."""
    head = "| row | version | per second | p50 ms | p99 ms | µs | times an empty route | SQL | Redis |"
    lines = [head, "| --- " * 9 + "|"]
    for row in rows:
        for name, of in figures.items():
            if row.name in of and of[row.name].rates:
                each = of[row.name]
                cells = [row.name, name, f"{statistics.median(each.rates):,.0f}"]
                cells += [f"{statistics.median(each.p50):.1f}", f"{statistics.median(each.p99):.0f}"]
                cells += [f"{statistics.median(each.processor):,.0f}", ratio_text(each, of.get(EMPTY.name))]
                cells += ["–" if number is None else f"{number:.0f}" for number in (each.sql, each.redis)]
                lines.append(f"| {' | '.join(cells)} |")
    return lines


def ratio_text(figures: Figures, base: Figures | None) -> str:
    if base is None or not base.processor:
        return "–"
    return f"{statistics.median(figures.processor) / statistics.median(base.processor):.1f}"


def ratios(rows: Sequence[Row], figures: Mapping[str, Mapping[str, Figures]], versions: Sequence[Version]) -> list[str]:
    """Return the lines of a table that compares the processor time of this version with that of the other version."""
    old, new = (figures[version.name] for version in versions)
    lines = [f"| processor time, this version / {versions[0].name} | ratio |", "| --- | --- |"]
    for row in rows:
        if old[row.name].processor and new[row.name].processor:
            # the rounds are compared one by one, because the machine may be slower in some of them
            pairs = zip(new[row.name].processor, old[row.name].processor, strict=False)
            lines.append(f"| {row.name} | {statistics.median(a / b for a, b in pairs):.2f} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
