"""Write the generated pages and tables of docs/: `python -m rolecall_lab.documentation.pages`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from rolecall.settings import ServiceSettings, declared_settings, type_name
from rolecall_auth.settings import Settings as AuthSettings
from rolecall_client.settings import Settings as ClientSettings
from rolecall_lab.documentation import specifications
from rolecall_resource.settings import Settings as ResourceSettings

ROOT: Final = Path(__file__).parents[3]
SETTINGS: Final = ROOT / "docs" / "settings.md"
CONTAINERS: Final = ROOT / "docs" / "containers.md"
COMPOSE: Final = ROOT / "docker-compose.yml"


_BEGIN: Final = "<!-- containers: made by `make docs` -->"
_END: Final = "<!-- end of containers -->"


def with_containers(page: str) -> str:
    """Return the text of docs/containers.md with a new table of containers between its markers."""
    head, rest = page.split(_BEGIN)
    return f"{head}{_BEGIN}\n\n{containers_table()}\n\n{_END}{rest.split(_END)[1]}"


def containers_table() -> str:
    """Return a Markdown table of the containers of docker-compose.yml with their networks, accounts, and volumes."""
    document = YAML(typ="safe").load(COMPOSE.read_text(encoding="utf-8"))
    services: dict[str, Any] = document["services"]
    internal = {name for name, options in document["networks"].items() if (options or {}).get("internal")}
    rows = ["| container | networks | accounts | volume |", "| --- | --- | --- | --- |"]
    for name, service in services.items():
        networks = [f"`{each}`" if each in internal else f"**`{each}`**" for each in service["networks"]]
        accounts = "" if name in {"redis", "postgres"} else ", ".join(_accounts(service.get("secrets", [])))
        volumes = [each for each in document["volumes"] if f"{each}:" in " ".join(service.get("volumes", []))]
        rows.append(f"| `{name}` | {', '.join(networks)} | {accounts or '–'} | {', '.join(volumes) or '–'} |")
    return "\n".join(rows)


def _accounts(secrets: list[str]) -> Iterator[str]:
    """Yield the Redis users and database roles of a container, which the names of its secrets contain."""
    for kind, end in (("Redis user", "_redis_url"), ("database role", "_database_url")):
        for secret in secrets:
            if secret.endswith(end):
                yield f"{kind} `{secret.removesuffix(end)}`"


_SETTINGS: Final = """\
# Settings

Look up an environment variable of a service here. `make docs` generates this page from the declarations in the code;
a test fails if it is out of date.

- `make run` sets everything. Put the service's name before a variable to change it there, for example
  `AUTH_SERVICE_ACCESS_TOKEN_LIFETIME=60 make run`.
- In containers and in production, the names have no prefix. `NAME_FILE` names a file that contains the value of `NAME`,
  as container secrets do.
- A service reports all missing and invalid settings together and does not start. `flask check` reports them too.
- A limit has the form `10 per 5 minute`.

All services also read these variables:

| variable | default | meaning |
| --- | --- | --- |
| `WEB_CONCURRENCY` | `2` | The number of worker processes. |
| `REQUEST_DEADLINE` | `10` | The seconds in which a client must have sent a complete request. |
| `METRICS_PORT` | – | The port for Prometheus metrics; without it, there are none. Not for `make run`. |
| `ISSUERS_FILE` | – | The TOML file of [several issuers](production.md#several-issuers) of the authorization server. |
"""


def settings_page() -> str:
    """Return the text of docs/settings.md."""
    tables = (settings_table(settings) for settings in (AuthSettings, ResourceSettings, ClientSettings))
    return "\n\n".join([_SETTINGS.rstrip(), *tables]) + "\n"


def settings_table(settings: type[ServiceSettings]) -> str:
    """Return the settings of a service as a section with a Markdown table."""
    rows = [f"## {settings.SERVICE}", "", "| variable | type | default | meaning |", "| --- | --- | --- | --- |"]
    for field in declared_settings(settings):
        form = "secret" if field.metadata["secret"] else type_name(settings, field)
        rows.append(f"| `{field.name.upper()}` | {form} | {_default(field)} | {field.metadata['doc']} |")
    return "\n".join(rows)


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is dataclasses.MISSING:
        return "required"
    return f"`{field.default}`" if field.default not in (None, ()) else "–"


def main() -> None:
    """Write docs/settings.md, docs/specifications.md, and the table in docs/containers.md."""
    SETTINGS.write_text(settings_page(), encoding="utf-8")
    CONTAINERS.write_text(with_containers(CONTAINERS.read_text(encoding="utf-8")), encoding="utf-8")
    specifications.FILE.write_text(specifications.document(), encoding="utf-8")


if __name__ == "__main__":
    main()
