"""Freeze the databases of this version before its release: `freeze.py 0.2.0`.

The folder `releases/0.2.0` never changes afterwards, and the migration tests start from it and from all others.
DATABASE_URL is the PostgreSQL server to use; PG_DUMP is the command if the one in PATH does not fit the server:

    DATABASE_URL=postgresql+psycopg://postgres:pw@127.0.0.1:5432/postgres \
    PG_DUMP="docker run --rm --network host postgres:17-alpine pg_dump" \
    .venv/bin/python tests/support/migrations/freeze.py 0.2.0
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("shared", "auth-service", "resource-service", "client-webapp", "lab", "tests")


def main() -> None:
    """Play the story in new databases of each dialect; write their dumps, and the secrets, into a new folder."""
    sys.path[:0] = [str(ROOT / each) for each in PACKAGES]
    from support.databases import fresh_database
    from support.migrations.frozen import RELEASES, SERVICES, dump, load, rows_of, start
    from support.migrations.story import BOTH, play
    from support.servers import RedisServer

    if len(sys.argv) != 2 or not re.fullmatch(r"\d+\.\d+\.\d+", sys.argv[1]):
        sys.exit("Name the release, for example: freeze.py 0.2.0")
    folder = RELEASES / sys.argv[1]
    if folder.exists():
        sys.exit(f"{folder} already exists, and a frozen release must not change")
    if not os.environ.get("DATABASE_URL"):
        sys.exit("Set DATABASE_URL to a PostgreSQL server: postgresql+psycopg://postgres:pw@127.0.0.1:5432/postgres")
    logging.disable(logging.ERROR)
    secrets: dict[str, Any] = {"both": BOTH}
    dumps: dict[str, str] = {}
    for dialect in ("sqlite", "postgresql"):
        with tempfile.TemporaryDirectory(prefix="rolecall-") as name:

            def new_database(kind: str, dialect: str = dialect, name: str = name) -> str:
                if dialect == "sqlite":
                    return f"sqlite:///{name}/{kind}.db"
                return fresh_database(kind, Path(name), lambda _: None)

            redis = RedisServer(Path(name))
            redis.start()
            urls = {service: new_database(service) for service in SERVICES}
            running = start(urls, redis.url, BOTH)
            secrets[dialect] = play(running)
            running.close()
            redis.stop()
            for service, url in urls.items():
                text = dumps[f"{service}.{dialect}.sql"] = dump(url)
                again = new_database(f"{service}-again")
                load(text, again)
                if rows_of(again) != rows_of(url):
                    sys.exit(f"Loading the dump of {url} does not restore its rows")
    folder.mkdir(parents=True)
    dumps["secrets.json"] = json.dumps(secrets, ensure_ascii=False, indent=2) + "\n"
    for name, text in dumps.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
