"""Run a `flask` command of a service with its settings in the running lab: `make flask SERVICE=… ARGS=…`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

from rolecall_lab.launcher import containers, running
from rolecall_lab.launcher.environment import LAB_ENV, ROOT, SERVICES, compose, of_service, read_env


def main() -> None:
    """Replace this process by `flask`; the arguments are a service and the command, such as `keys rotate`."""
    folder = Path(os.environ.get("ROLECALL_DIR") or ROOT / ".rolecall").absolute()
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    service = next((each for each in SERVICES if each.name == name), None)
    if service is None:
        problem = f"unknown service `{name}`" if name else "SERVICE is missing"
        sys.exit(f"rolecall: {problem}; the services are: {', '.join(each.name for each in SERVICES)}")
    notice = running.notice(os.environ)
    if not notice:
        if not containers.for_service(service.name):
            sys.exit(f"rolecall: {running.NothingRuns()}")
        inside = ("sh", "-c", 'exec flask --app "$ROLECALL_WSGI" "$@"', "flask", *sys.argv[2:])
        os.execvp("docker", ["docker", "compose", "exec", service.name, *inside])  # noqa: S606
    urls = {each: urlsplit(notice["services"][each.name]["url"]) for each in SERVICES}
    settings = compose(
        os.environ,
        read_env(LAB_ENV),
        hosts="localhost" if urls[service].hostname == "localhost" else "localhost-names",
        ports={each: url.port or 0 for each, url in urls.items()},
        redis_url=notice["redis_url"],
        data=folder,
    )
    environ = {**of_service(service, settings, os.environ), "LOG_LEVEL": "WARNING"}
    factory = f"rolecall_lab.wsgi:{service.label.lower()}_app"
    os.execve(sys.executable, [sys.executable, "-m", "flask", "--app", factory, *sys.argv[2:]], environ)  # noqa: S606


if __name__ == "__main__":
    main()
