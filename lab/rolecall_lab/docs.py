"""The parts of the README that are made from the code: `python -m rolecall_lab.docs` writes them anew."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Final

from auth_service.settings import Settings as AuthSettings
from client_webapp.settings import Settings as ClientSettings
from resource_service.settings import Settings as ResourceSettings
from rolecall.settings import ServiceSettings, declared, type_name

README: Final = Path(__file__).parents[2] / "README.md"
BEGIN: Final = "<!-- settings: made by `make docs` -->"
END: Final = "<!-- end of settings -->"


def settings_tables() -> str:
    """A Markdown table of each service's settings."""
    return "\n\n".join(_table(settings) for settings in (AuthSettings, ResourceSettings, ClientSettings))


def _table(settings: type[ServiceSettings]) -> str:
    rows = [f"**{settings.SERVICE}**", "", "| variable | form | without it | what it is |", "| --- | --- | --- | --- |"]
    for field in declared(settings):
        form = "secret" if field.metadata["secret"] else type_name(settings, field)
        rows.append(f"| `{field.name.upper()}` | {form} | {_default(field)} | {field.metadata['doc']} |")
    return "\n".join(rows)


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is dataclasses.MISSING:
        return "must be set"
    return f"`{field.default}`" if field.default not in (None, ()) else "–"


def main() -> None:
    """Write the tables into the README."""
    text = README.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    README.write_text(f"{head}{BEGIN}\n\n{settings_tables()}\n\n{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
