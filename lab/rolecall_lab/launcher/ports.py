"""The ports of the services: which are set, and sockets bound to them before anything starts."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from rolecall_lab.launcher.environment import EVERYTHING, Service
from rolecall_lab.launcher.processes import LauncherError


def port_of(service: Service, environ: Mapping[str, str]) -> int:
    """Return the port that is set for a service; 0 means any free port.

    Raises:
        LauncherError: the value is not a port, or two services have the same port.
    """
    ports = {}
    for each in EVERYTHING:
        text = environ.get(each.port_setting) or str(each.port)
        if not (text.isascii() and text.isdigit() and int(text) <= 65535):
            raise LauncherError(f"{each.port_setting} is {text}, and must be the number of a port")
        ports[each] = int(text)
    same = [each.port_setting for each in EVERYTHING if ports[each] == ports[service] != 0]
    if len(same) > 1:
        raise LauncherError(f"{' and '.join(same)} are both {ports[service]}")
    return ports[service]


@contextmanager
def bound(service: Service, port: int) -> Iterator[list[socket.socket]]:
    """Bind sockets to a service's port on 127.0.0.1 and, if it exists, on ::1, to which names may resolve first.

    They are bound here so that a busy port is reported immediately and no other program can take it meanwhile.

    Raises:
        LauncherError: another program uses the port, or binding it is not permitted.
    """
    with ExitStack() as opened:
        sockets: list[socket.socket] = []
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            try:
                each = opened.enter_context(socket.socket(family, socket.SOCK_STREAM))
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                each.bind((host, port))
            except OSError as error:
                if family == socket.AF_INET6 and error.errno != errno.EADDRINUSE:
                    continue
                reason = f"is in use{listener(port)}" if error.errno == errno.EADDRINUSE else f"({error.strerror})"
                raise LauncherError(
                    f"port {port} of the {service.role} {reason}; "
                    f"free it, or choose another one with {service.port_setting}"
                ) from error
            port = each.getsockname()[1]
            sockets.append(each)
        yield sockets


def listener(port: int) -> str:
    """Return who listens on a port, such as ` by python3 (pid 7)`, or an empty string if that is unknown."""
    with suppress(OSError, ValueError, IndexError):
        rows = [
            row.split() for table in ("tcp", "tcp6") for row in Path("/proc/net", table).read_text().splitlines()[1:]
        ]
        wanted = {f"socket:[{row[9]}]" for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port}
        for link in Path("/proc").glob("[0-9]*/fd/*"):
            with suppress(OSError):
                if str(link.readlink()) in wanted:
                    process = link.parents[1]
                    return f" by {(process / 'comm').read_text().strip()} (pid {process.name})"
    return ""
