"""Twists of the parameters: hostile values and names, too many, too large, missing, or repeated."""

from __future__ import annotations

from random import Random

from support.fuzz.request import MEGABYTE, Request, parameter_name, value


def replace_value(random: Random, request: Request) -> None:
    if request.pairs:
        place = random.randrange(len(request.pairs))
        request.pairs[place] = (request.pairs[place][0], value(random))
    else:
        request.pairs.append((parameter_name(random, request), value(random)))


def repeat(random: Random, request: Request) -> None:
    name = parameter_name(random, request)
    other = value(random) if random.random() < 0.5 else dict(request.pairs).get(name, b"x")
    request.pairs.insert(random.randrange(len(request.pairs) + 1), (name, other))


def drop(random: Random, request: Request) -> None:
    if request.pairs:
        del request.pairs[random.randrange(len(request.pairs))]


def hostile_name(random: Random, request: Request) -> None:
    name = random.choice(
        (value(random)[:2000], parameter_name(random, request).upper(), parameter_name(random, request) + b"%5B%5D")
    )
    request.pairs.append((name, b"x"))


def ten_thousand(random: Random, request: Request) -> None:
    name = parameter_name(random, request)
    if request.method == b"POST":
        request.pairs += [(name + (b"%d" % i if random.random() < 0.5 else b""), b"1") for i in range(10_000)]
    elif random.random() < 0.5:
        request.pairs += [(name, b"1")] * 700
    else:
        request.pairs += [(name, b"1")] * 10_000
        _too_long(request)


def megabyte(random: Random, request: Request) -> None:
    unit = random.choice((b"x", b"%00", b"\xff", b"&", b"%cc%81"))
    large = unit * (MEGABYTE // len(unit))
    if request.body is None:
        request.pairs.append((parameter_name(random, request), large))
    else:
        request.body += large
    if request.body is not None or request.method == b"POST":
        request.ends, request.only = True, frozenset(range(400, 500))
    else:
        _too_long(request)


def _too_long(request: Request) -> None:
    """Expect a rejection, because servers limit the length of the request line (RFC 9112 section 3)."""
    request.ends = request.broken = True
    request.only = frozenset({400, 414, 431})


def big_but_allowed(random: Random, request: Request) -> None:
    """Send as much as the server reads, of characters that are expensive to process."""
    unit = random.choice(("\u0301\u0316", "ﷺ", "&", "%", "a=", "\u1100\u1161", "\0")).encode()
    room = 60_000 if request.method == b"POST" else 6_000
    request.pairs.append((parameter_name(random, request), unit * (room // len(unit))))


def in_address(random: Random, request: Request) -> None:
    request.path += b"?" + parameter_name(random, request) + b"=" + value(random)[:3000]
