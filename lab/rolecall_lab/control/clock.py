"""The lab's clock: one offset in Redis, pushed to every worker of every service, and acknowledged by each."""

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
from rolecall.storage import connect
from rolecall_lab.settings import LabSettings

log = logging.getLogger(__name__)

KEY: Final = "lab:clock"
CHANNEL: Final = "lab:clock"
MAX_OFFSET: Final = 10 * 365 * 86400
"""Seconds."""

PATIENCE: Final = 2.0
"""Seconds in which every worker must have the new time."""

_RETRY_AFTER: Final = 0.2
_POLL = 0.5
"""Seconds after which the thread looks whether it is to end, and whether Redis is still there and says the same."""

# KEYS: the clock. ARGV: set or advance, seconds, the limit, the channel, where to acknowledge, a number.
# Setting and telling are one step, so that workers hear of the offsets in the order in which they were set. They are
# numbered by the system's time (milliseconds), which goes on when Redis is emptied.
_TURN: Final = """
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
    """The clock would be turned further than `MAX_OFFSET`."""


@dataclass(frozen=True, slots=True)
class Turned:
    """The offset (seconds) that was set, to how many workers it was sent, and how many of them have it."""

    offset: float
    workers: int
    acknowledged: int


def turn(client: redis.Redis, seconds: float, *, advance: bool = False) -> Turned:
    """Set the offset, or add to it, and wait until every worker has it, `PATIENCE` at most.

    Raises:
        OutOfRange: it would be more than `MAX_OFFSET`.
        redis.RedisError: Redis does not answer.
    """
    acknowledge = f"{KEY}:ack:{secrets.token_hex(8)}"
    number = str(int((clock.now() - clock.offset()) * 1000))
    arguments = ("advance" if advance else "set", repr(seconds), str(MAX_OFFSET), CHANNEL, acknowledge, number)
    answer = cast("tuple[bytes, int] | None", client.eval(_TURN, 1, KEY, *arguments))
    if answer is None:
        raise OutOfRange
    offset, workers = answer
    until = clock.monotonic() + PATIENCE
    acknowledged = 0
    while acknowledged < workers and (left := until - clock.monotonic()) > 0:
        acknowledged += client.blpop([acknowledge], timeout=max(0.01, min(left, 0.5))) is not None
    client.delete(acknowledge)
    return Turned(float(offset), workers, acknowledged)


def workers(client: redis.Redis) -> int:
    """How many workers listen.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    [(_, number)] = cast("list[tuple[bytes, int]]", client.pubsub_numsub(CHANNEL))
    return number


class Follower:
    """Keeps this process's clock as Redis has it, in a daemon thread with a connection of its own."""

    def __init__(self, lab: LabSettings) -> None:
        self._lab = lab
        self._lock = threading.Lock()
        self._pid = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to follow, once a process, and wait until the first offset is known or Redis turns out to be away."""
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
        """Follow no longer; the clock stays as it is."""
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
                log.warning("the lab's clock is not followed", extra={"detail": type(error).__name__})
                tried.set()
                stop.wait(_RETRY_AFTER)
        client.close()

    def _follow(self, client: redis.Redis, stop: threading.Event, tried: threading.Event) -> None:
        with client.pubsub() as messages:  # type: ignore[no-untyped-call]
            messages.subscribe(CHANNEL)
            known, heard = 0, clock.monotonic()
            while not stop.is_set():
                message = messages.get_message(timeout=_POLL)
                if message is None:
                    if clock.monotonic() - heard > PATIENCE:
                        raise redis.ConnectionError("a network that was cut leaves connections that say nothing")
                    messages.ping()
                    continue
                heard = clock.monotonic()
                if message["type"] == "message":
                    known = self._hear(client, json.loads(message["data"]), known)
                else:
                    # subscribed, perhaps anew: what was said meanwhile was missed; or a pong: Redis may be empty
                    known = self._read(client)
                    tried.set()

    def _read(self, client: redis.Redis) -> int:
        """Take the offset as it stands; gives its sequence number."""
        offset, sequence = cast("list[bytes | None]", client.hmget(KEY, ["offset", "sequence"]))
        clock.set_offset(float(offset or 0) + self._lab.lab_clock_skew)
        return int(sequence or 0)

    def _hear(self, client: redis.Redis, message: dict[str, Any], known: int) -> int:
        """Take the offset of a message unless a later one is known already, and acknowledge it either way."""
        sequence = int(message["sequence"])
        if sequence > known:
            clock.set_offset(float(message["offset"]) + self._lab.lab_clock_skew)
        pipeline = client.pipeline(transaction=False)
        pipeline.rpush(message["acknowledge"], f"{self._lab.role}:{os.getpid()}")
        pipeline.expire(message["acknowledge"], 60)
        pipeline.execute()
        return max(known, sequence)
