"""Two labs with one authorization server process: two issuers on one host, each with its own API and client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from support.servers import free_port
from support.stack import Stack, running_stack

NAMES = ("one", "two")


@contextmanager
def side_by_side(folder: Path, **environ: str) -> Iterator[dict[str, Stack]]:
    """Start both labs; the authorization server of the first serves both issuers, and that of the second is unused."""
    port = free_port()
    issuers = {name: f"http://localhost:{port}/s/{name}" for name in NAMES}
    inside = f"http://127.0.0.1:{port}/s/two"
    folders = {name: folder / name for name in NAMES}
    for each in folders.values():
        each.mkdir()
    of_second = {
        "AUTH_SERVICE_ISSUER": issuers["two"],
        "AUTH_SERVICE_BACKCHANNEL_URLS": inside,
        "RESOURCE_SERVICE_BACKCHANNEL_URL": inside,
        "CLIENT_WEBAPP_BACKCHANNEL_URL": inside,
        **{
            f"{service}_AUTH_BACKCHANNEL_URLS": inside
            for service in ("CLIENT_WEBAPP", "RESOURCE_SERVICE", "LAB_OBSERVER")
        },
    }
    with running_stack(folders["two"], **environ, **of_second) as second:
        tables = {
            "one": {"ISSUER": issuers["one"], "DATABASE_URL": f"sqlite:///{folders['one']}/auth-service.db"},
            "two": {
                "ISSUER": issuers["two"],
                "BACKCHANNEL_URLS": inside,
                "DATABASE_URL": f"sqlite:///{folders['two']}/auth-service.db",
                "REDIS_URL": second.redis_url,
                "LAB_REDIS_URL": second.redis_url,
                "AUTH_URL": issuers["two"],
                "AUTH_BACKCHANNEL_URLS": inside,
                "CLIENT_URL": second.client,
                "RESOURCE_URL": second.api,
                "OBSERVER_URL": second.observer,
            },
        }
        file = folder / "issuers.toml"
        file.write_text("".join(f"[{name}]\n{_lines(table)}" for name, table in tables.items()))
        of_first = {"AUTH_PORT": str(port), "AUTH_SERVICE_ISSUER": issuers["one"]}
        of_first["AUTH_SERVICE_ISSUERS_FILE"] = str(file)
        with running_stack(folders["one"], **{**environ, **of_first}) as first:
            served = {"auth-service": first.pids["auth-service"]}
            # the workers of the first authorization server also follow the clock of the second lab
            yield {"one": first, "two": replace(second, pids={**second.pids, **served}, workers=second.workers + 2)}


def _lines(table: dict[str, str]) -> str:
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in table.items())
