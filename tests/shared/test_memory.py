"""The memory that a worker of gunicorn keeps after large requests."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

MEASURE = """
import sys, threading, types, urllib.parse
import psutil
from rolecall import gunicorn_conf

if sys.argv[1] == "as configured":
    gunicorn_conf.when_ready(types.SimpleNamespace(app=types.SimpleNamespace(wsgi=lambda: None)))
me = psutil.Process()
before = me.memory_info().rss
start, end = threading.Barrier(8), threading.Barrier(9)

def serve():
    start.wait()  # each thread has its own heap
    for _ in range(3):
        urllib.parse.unquote_to_bytes(b"%" * 60_000)
    end.wait()
    end.wait()

for _ in range(8):
    threading.Thread(target=serve).start()
end.wait()
print(me.memory_info().rss - before)
end.wait()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps memory for each thread")
def test_a_large_form_leaves_nothing_in_the_threads_that_read_it() -> None:
    """Decoding the largest form that is read takes ten megabytes."""
    kept, otherwise = (
        int(subprocess.run([sys.executable, "-c", MEASURE, how], capture_output=True, text=True, check=True).stdout)
        for how in ("as configured", "as it comes")
    )
    assert kept < 8 * 2**20, "the stacks of eight threads"
    assert otherwise > 2 * kept
