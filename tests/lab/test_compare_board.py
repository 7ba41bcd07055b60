"""The results board of the comparison: which responses count for which event, and the predictions."""

from __future__ import annotations

import json

import pytest

from rolecall_lab.compare import board
from rolecall_lab.compare.asking import Probe

TOKENS = {"access_token": "one", "expires_at": 1300.0}


def asked(way: str, at: float, status: int = 200, lab: float | None = None) -> Probe:
    return Probe(way, at, at + 0.01, at + 0.01 if lab is None else lab, status, "", "", 1.0)


def begun(event: str = "revoke", at: float = 1000.0) -> board.Board:
    made = board.Board()
    before = [asked("introspection", at - 1), asked("jwt", at - 1)]
    made.add(board.EVENTS[event], "", TOKENS, before, at=at, lab_at=at)
    return made


def test_an_answer_to_a_question_put_before_the_event_or_with_another_token_does_not_count() -> None:
    made = begun()
    made.record("one", [asked("introspection", 999.99, 401)])
    made.record("two", [asked("introspection", 1001, 401)])
    assert made.rows[0].ways["introspection"].tries == 0
    made.record("one", [asked("introspection", 1001, 401)])
    assert made.rows[0].ways["introspection"].result == "rejected after 1.0 s"
    made.record("one", [asked("introspection", 1002, 401)])
    assert made.rows[0].ways["introspection"].tries == 1, "the first refusal determines the result"
    assert made.is_measuring("one")
    assert not made.is_measuring("two")


def test_another_event_ends_the_measurement_and_the_passing_of_time_does_not() -> None:
    made = begun()
    before = [asked("introspection", 1001, 401), asked("jwt", 1001)]
    made.add(board.EVENTS["clock-300"], "", TOKENS, before, at=1002, lab_at=1002)
    made.record("one", [asked("jwt", 1003, 401, lab=1303)])
    assert [row.ways["jwt"].result for row in made.rows] == ["rejected after 303 s", "rejected after 301 s"]
    assert made.rows[1].ways["introspection"].result == "rejected before this event"
    made = begun("rotate")
    made.add(board.EVENTS["disable"], "", TOKENS, before[1:] + before[:1], at=1002, lab_at=1002)
    made.record("one", [asked("jwt", 1003, 401)])
    assert [row.ways["jwt"].tries for row in made.rows] == [0, 1]


def test_the_board_is_bounded_and_comes_back_as_it_was_kept() -> None:
    made = begun()
    for number in range(30):
        made.record("one", [asked("jwt", 1000 + number)])
        before = [asked(way, 1000) for way in ("introspection", "jwt")]
        made.add(board.EVENTS["rotate"], "", TOKENS, before, at=1000 + number, lab_at=1000 + number)
    assert len(made.rows) == board.MAX_ROWS
    assert made.rows[-1].number == 31
    assert board.Board.load(json.loads(json.dumps(made.dump()))) == made


@pytest.mark.parametrize(
    ("event", "responses", "tone"),
    [
        ("revoke", [(0.1, 401)], "yes"),
        ("revoke", [(0.1, 200)], "no"),
        ("retire", [(0.5, 200), (1.0, 401)], "yes"),
        ("revoke", [(0.1, 200), (299.0, 200), (301.0, 401)], "no"),
        ("rotate", [(0.1, 200)], "yes"),
        ("rotate", [(0.1, 401)], "open"),
        ("stop", [(0.1, 503)], "open"),
        ("stop", [(0.1, 200), (301.0, 200)], "no"),
        ("clock-300", [(299.0, 200)], "yes"),
        ("expire", [(301.0, 401)], "yes"),
        ("expire", [(301.0, 200)], "no"),
        ("revoke", [], "open"),
    ],
)
def test_the_color_says_whether_the_reaction_is_right_or_dangerous(
    event: str, responses: list[tuple[float, int]], tone: str
) -> None:
    """The token expires 300 s after the event, whatever the status is."""
    made = begun(event)
    for seconds, status in responses:
        made.record("one", [asked("jwt", 1000 + seconds, status)])
    assert made.rows[0].ways["jwt"].tone == tone


def test_a_token_without_a_known_expiry_is_valid_until_something_ends_it() -> None:
    made = board.Board()
    made.add(board.EVENTS["rotate"], "", {"access_token": "one"}, [asked("jwt", 999)], at=1000, lab_at=1000)
    made.record("one", [asked("jwt", 2000)])
    assert made.rows[0].ways["jwt"].tone == "yes"
    made.record("one", [asked("jwt", 2001, 401)])
    assert made.rows[0].ways["jwt"].tone == "open"


@pytest.mark.parametrize(
    ("event", "left", "says"),
    [
        ("revoke", 240.0, "accepts the token until it expires, in\u00a04\u00a0min\u00a00\u00a0s"),
        ("clock-61", 240.0, "accepts the token, which then expires in\u00a02\u00a0min\u00a059\u00a0s"),
        ("clock-300", 240.0, "rejects the next request: expired"),
        ("rotate", -1.0, "rejects the next request: the token has expired"),
        ("revoke", None, "accepts the token until it expires"),
    ],
)
def test_the_prediction_knows_what_the_token_has_left(event: str, left: float | None, says: str) -> None:
    assert board.prediction(board.EVENTS[event], "jwt", left) == says
