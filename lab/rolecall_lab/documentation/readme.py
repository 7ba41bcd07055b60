"""Write the generated parts of the README: `python -m rolecall_lab.documentation.readme`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from rolecall.settings import ServiceSettings, declared_settings, type_name
from rolecall_auth.settings import Settings as AuthSettings
from rolecall_client.settings import Settings as ClientSettings
from rolecall_lab.documentation import specifications
from rolecall_resource.settings import Settings as ResourceSettings

ROOT: Final = Path(__file__).parents[3]
README: Final = ROOT / "README.md"
COMPOSE: Final = ROOT / "docker-compose.yml"


_OPEN: Final = {"edge": "published on 127.0.0.1", "outward": "outbound connections"}
"""Networks that are connected to something outside."""


def parts() -> dict[str, str]:
    """Return the generated parts of the README by name; markers in the README enclose each part."""
    return {"containers": containers_drawing(), "settings": settings_tables()}


def containers_drawing() -> str:
    """Draw the containers of docker-compose.yml with their networks and stores as a Mermaid flowchart."""
    document = YAML(typ="safe").load(COMPOSE.read_text(encoding="utf-8"))
    services: dict[str, Any] = document["services"]
    volumes = {
        name: [volume for volume in document["volumes"] if f"{volume}:" in " ".join(service.get("volumes", []))]
        for name, service in services.items()
    }
    lines = ["```mermaid", "flowchart LR", '  browser(["browser"]) --> net-edge']
    for network, options in document["networks"].items():
        inside = "no outbound connections" if (options or {}).get("internal") else _OPEN[network]
        lines.append(f'  net-{network}{{{{"network {network}<br>{inside}"}}}}')
    for name, service in services.items():
        lines.append(f'  {name}[("{name}<br>volume {volumes[name][0]}")]' if volumes[name] else f'  {name}["{name}"]')
        for network in service["networks"]:
            serves = volumes[name] or network == "edge" or (network == "services" and name != "front")
            logs_in = "" if serves else _login(network, service.get("secrets", []))
            lines.append(f"  net-{network} --> {name}" if serves else f"  {name} -->{logs_in} net-{network}")
    return "\n".join([*lines, "```"])


def _login(network: str, secrets: list[str]) -> str:
    """Return the database role or Redis user of a service in a network, which the names of its secrets contain."""
    wanted = "_redis_url" if network == "redis" else f"{network.removesuffix('-sql')}_database_url"
    names = sorted({secret.split("_")[0] for secret in secrets if secret.endswith(wanted)})
    return f'|"{"user" if network == "redis" else "role"} {names[0]}"|' if names else ""


def settings_tables() -> str:
    """Return a Markdown table of the settings of each service."""
    return "\n\n".join(settings_table(settings) for settings in (AuthSettings, ResourceSettings, ClientSettings))


def settings_table(settings: type[ServiceSettings]) -> str:
    """Return a Markdown table of the settings of a service, under its name."""
    rows = [f"**{settings.SERVICE}**", "", "| variable | type | default | meaning |", "| --- | --- | --- | --- |"]
    for field in declared_settings(settings):
        form = "secret" if field.metadata["secret"] else type_name(settings, field)
        rows.append(f"| `{field.name.upper()}` | {form} | {_default(field)} | {field.metadata['doc']} |")
    return "\n".join(rows)


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is dataclasses.MISSING:
        return "required"
    return f"`{field.default}`" if field.default not in (None, ()) else "–"


def with_parts(text: str) -> str:
    """Return the text of the README with all generated parts replaced."""
    for name, part in parts().items():
        begin, end = f"<!-- {name}: made by `make docs` -->", f"<!-- end of {name} -->"
        head, rest = text.split(begin)
        text = f"{head}{begin}\n\n{part}\n\n{end}{rest.split(end)[1]}"
    return text


def main() -> None:
    """Write the README and docs/specifications.md."""
    README.write_text(with_parts(README.read_text(encoding="utf-8")), encoding="utf-8")
    specifications.FILE.write_text(specifications.document(), encoding="utf-8")


if __name__ == "__main__":
    main()
