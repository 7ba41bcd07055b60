"""Programs of tests/interop/node, with the configuration of their documentation and the addresses of the test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from support.foreign import INTEROP, configuration, running
from support.gateways import registered
from support.servers import free_port
from support.stack import Stack

SOURCES = INTEROP / "node"


def configured(node: Path, stack: Stack, folder: Path, replacements: Mapping[str, str], *names: str) -> Path:
    """Copy programs to a folder where they find their packages; return the first of them."""
    if not (folder / "node_modules").exists():
        (folder / "node_modules").symlink_to(node / "node_modules")
    for name in names:
        (folder / name).write_text(configuration((SOURCES / name).read_text(), stack, replacements))
    return folder / names[0]


@contextmanager
def web_app(node: Path, stack: Stack, folder: Path, name: str) -> Iterator[str]:
    """Register the client `<name>.client.json`, and run its app `<name>.mjs`; yield the app's URL."""
    port = free_port()
    values = registered(stack, SOURCES / f"{name}.client.json", {"localhost:3000": f"localhost:{port}"})
    values |= {"listen(3000": f"listen({port}", "SESSION_SECRET": "a-secret-of-the-tests-0123456789abcdef"}
    with _listening(configured(node, stack, folder, values, f"{name}.mjs"), port) as url:
        yield url


@contextmanager
def api(node: Path, stack: Stack, folder: Path, name: str, replacements: Mapping[str, str]) -> Iterator[str]:
    """Run the Books API `<name>.mjs` of the resource `node-api`; yield its URL."""
    port = free_port()
    values = {"listen(8480": f"listen({port}", **replacements}
    with _listening(configured(node, stack, folder, values, f"{name}.mjs"), port) as url:
        yield f"{url}/books"


@contextmanager
def _listening(program: Path, port: int) -> Iterator[str]:
    url = f"http://localhost:{port}"
    with running(["node", str(program)], f"{url}/favicon.ico", cwd=program.parent):
        yield url
