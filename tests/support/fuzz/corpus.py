"""The hostile corpus: usual requests, each twisted in up to three of the ways in a table."""

from __future__ import annotations

from random import Random
from typing import Final

from support.fuzz.request import Request, Twist
from support.fuzz.twists import bodies, credentials, first_line, headers, parameters

TWISTS: Final[tuple[Twist, ...]] = (
    parameters.replace_value,
    parameters.replace_value,
    parameters.replace_value,
    parameters.replace_value,
    parameters.repeat,
    parameters.repeat,
    parameters.drop,
    parameters.hostile_name,
    parameters.ten_thousand,
    parameters.megabyte,
    parameters.big_but_allowed,
    parameters.in_address,
    bodies.content_type,
    bodies.json_body,
    bodies.multipart,
    bodies.framing,
    bodies.chunked,
    bodies.bad_chunks,
    bodies.truncated,
    headers.header,
    headers.header,
    headers.broken_header,
    headers.many_headers,
    headers.repeated_header,
    headers.host,
    headers.host,
    headers.cookie,
    headers.cookie,
    credentials.authorization,
    credentials.authorization,
    credentials.token_parameter,
    first_line.method,
    first_line.path,
    first_line.path,
    first_line.line,
    first_line.http_1_0,
    first_line.pipelined,
)


def twist(random: Random, request: Request) -> Request:
    """Change a request in up to three hostile ways, and return it."""
    for chosen in random.choices(TWISTS, k=random.choice((0, 1, 1, 1, 2, 2, 3))):
        chosen(random, request)
        request.twists.append(chosen.__name__)
    if len(request.twists) > 1:
        request.only = frozenset()
    if request.framing is not None and len(request.twists) > 1:
        request.broken = request.ends = True  # another twist may have changed the body
    return request
