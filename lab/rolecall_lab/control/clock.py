"""The lab's clock: an offset in Redis that is pushed to every worker of every service and confirmed by each."""

from __future__ import annotations

import json
import logging
import os
import secrets
import threading
from dataclasses import dataclass
from typing import Any, Final, cast

import redis

from rolecall import clock
from rolecall.clock import Clock
from rolecall.storage import connect
from rolecall_lab.settings import LabSettings

log = logging.getLogger(__name__)

KEY: Final = "lab:clock"
CHANNEL: Final = "lab:clock"
MAX_OFFSET: Final = 10 * 365 * 86400
"""Maximum offset in either direction, in seconds."""

PATIENCE: Final = 2.0
"""Seconds within which every worker must confirm a new offset."""

_RETRY_AFTER: Final = 0.2
_POLL = 0.5
"""Seconds between the thread's checks for the end of the process, and for changes and failures of Redis."""

# KEYS: the clock. ARGV: "set" or "advance", seconds, maximum, channel, key for confirmations, sequence number.
# Storing and publishing are one atomic step, so that workers receive the offsets in the order in which they were set.
# The sequence number is based on the system's time in milliseconds, so that it keeps growing if Redis is emptied.
_SET_OFFSET: Final = """
local offset = tonumber(ARGV[2])
if ARGV[1] == 'advance' then
  offset = offset + tonumber(redis.call('HGET', KEYS[1], 'offset') or '0')
end
if math.abs(offset) > tonumber(ARGV[3]) then
  return false
end
local text = string.format('%.17g', offset)
local last = tonumber(redis.call('HGET', KEYS[1], 'sequence') or '0')
local sequence = string.format('%.0f', math.max(tonumber(ARGV[6]), last + 1))
redis.call('HSET', KEYS[1], 'offset', text, 'sequence', sequence)
local message = cjson.encode({sequence = sequence, offset = text, acknowledge = ARGV[5]})
return {text, redis.call('PUBLISH', ARGV[4], message)}
"""


class OutOfRange(Exception):
    """The offset would exceed `MAX_OFFSET`."""


@dataclass(frozen=True, slots=True)
class ClockChange:
    """A change of the clock.

    Args:
        offset: the new offset, in seconds.
        workers: how many workers the offset was sent to.
        acknowledged: how many of them confirmed it.
    """

    offset: float
    workers: int
    acknowledged: int


def set_offset(client: redis.Redis, seconds: float, *, advance: bool = False) -> ClockChange:
    """Set the offset, or add to it, and wait up to `PATIENCE` seconds for the confirmation of every worker.

    Raises:
        OutOfRange: the offset would exceed `MAX_OFFSET`.
        redis.RedisError: Redis does not respond.
    """
    acknowledge = f"{KEY}:ack:{secrets.token_hex(8)}"
    sequence = str(int((clock.now() - clock.offset()) * 1000))
    arguments = ("advance" if advance else "set", repr(seconds), str(MAX_OFFSET), CHANNEL, acknowledge, sequence)
    result = cast("tuple[bytes, int] | None", client.eval(_SET_OFFSET, 1, KEY, *arguments))
    if result is None:
        raise OutOfRange
    offset, workers = result
    until = clock.monotonic() + PATIENCE
    acknowledged = 0
    while acknowledged < workers and (left := until - clock.monotonic()) > 0:
        acknowledged += client.blpop([acknowledge], timeout=max(0.01, min(left, 0.5))) is not None
    client.delete(acknowledge)
    return ClockChange(float(offset), workers, acknowledged)


def workers(client: redis.Redis) -> int:
    """Return the number of workers that receive new offsets.

    Raises:
        redis.RedisError: Redis does not respond.
    """
    [(_, number)] = cast("list[tuple[bytes, int]]", client.pubsub_numsub(CHANNEL))
    return number


class Follower:
    """A daemon thread that keeps a clock in sync with the offset in Redis, over a separate connection."""

    def __init__(self, lab: LabSettings, followed: Clock) -> None:
        self._lab = lab
        self._clock = followed
        self._lock = threading.Lock()
        self._pid = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, once per process, and wait until it has read the offset or failed to connect to Redis."""
        if self._pid == os.getpid():
            return
        with self._lock:
            if self._pid == os.getpid():
                return
            self._stop = threading.Event()
            tried = threading.Event()
            arguments = (self._stop, tried)
            self._thread = threading.Thread(target=self._run, args=arguments, name="lab-clock", daemon=True)
            self._thread.start()
            tried.wait(PATIENCE)
            self._pid = os.getpid()

    def stop(self) -> None:
        """Stop the thread. The clock keeps its offset."""
        self._stop.set()
        if self._thread is not None and self._pid == os.getpid():
            self._thread.join(PATIENCE)
        self._pid = 0

    def _run(self, stop: threading.Event, tried: threading.Event) -> None:
        client = connect(self._lab.lab_redis_url)
        while not stop.is_set():
            try:
                self._follow(client, stop, tried)
            except (redis.RedisError, OSError, ValueError, RuntimeError) as error:
                log.warning("lab clock is not synchronized", extra={"detail": type(error).__name__})
                tried.set()
                stop.wait(_RETRY_AFTER)
        client.close()

    def _follow(self, client: redis.Redis, stop: threading.Event, tried: threading.Event) -> None:
        with client.pubsub() as messages:  # type: ignore[no-untyped-call]
            messages.subscribe(CHANNEL)
            latest, last_message = 0, clock.monotonic()
            while not stop.is_set():
                message = messages.get_message(timeout=_POLL)
                if message is None:
                    if clock.monotonic() - last_message > PATIENCE:
                        raise redis.ConnectionError("Redis does not respond on an open connection")
                    messages.ping()
                    continue
                last_message = clock.monotonic()
                if message["type"] == "message":
                    latest = self._receive(client, json.loads(message["data"]), latest)
                else:
                    # a subscription may follow a disconnection with missed messages; at a pong, Redis may be empty
                    latest = self._read(client)
                    tried.set()

    def _read(self, client: redis.Redis) -> int:
        """Apply the stored offset and return its sequence number."""
        offset, sequence = cast("list[bytes | None]", client.hmget(KEY, ["offset", "sequence"]))
        self._clock.offset = float(offset or 0) + self._lab.lab_clock_skew
        return int(sequence or 0)

    def _receive(self, client: redis.Redis, message: dict[str, Any], latest: int) -> int:
        """Apply the offset unless a later offset was applied before, and confirm it in either case."""
        sequence = int(message["sequence"])
        if sequence > latest:
            self._clock.offset = float(message["offset"]) + self._lab.lab_clock_skew
        pipeline = client.pipeline(transaction=False)
        pipeline.rpush(message["acknowledge"], f"{self._lab.role}:{os.getpid()}")
        pipeline.expire(message["acknowledge"], 60)
        pipeline.execute()
        return max(latest, sequence)
