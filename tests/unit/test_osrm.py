"""What is read out of a road service's answer, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from broker.errors import BadSetting
from broker.settings import Settings
from dispatch.osrm import MAX_BYTES, MOST_PLACES, Osrm, RoadTimesFailed, read, said_at_start
from dispatch.road_times import SQUARE_DEGREES, Square
from dispatch.travel import Position

START = Position(37.50, 127.00)
NEAR, FAR = Position(37.51, 127.00), Position(37.70, 127.00)  # 1.1 km and 22 km


def body(durations: Any, code: str = "Ok", **more: Any) -> bytes:
    return json.dumps({"code": code, "durations": durations, **more}).encode()


def test_seconds_in_the_order_of_the_question():
    answer = read(body([[180, 1500.5]]), START, [NEAR, FAR])
    assert answer.durations_s == (180.0, 1500.5)
    assert answer.problems == ()


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (None, None),  # no way is known: nothing is wrong
        (float("nan"), "is not 0 to"),
        (float("inf"), "is not 0 to"),
        (-1, "is not 0 to"),
        (1e9, "is not 0 to"),
        ("1500", "no number"),
        (True, "no number"),
        ([1500], "no number"),
        (20, "20 s for 22.2 km"),  # minutes for seconds, or another map
    ],
)
def test_one_bad_way_spoils_no_other(said: Any, words: str | None):
    answer = read(body([[180, said]]), START, [NEAR, FAR])
    assert answer.durations_s == (180.0, None)
    assert [words in problem for problem in answer.problems] == ([True] if words else [])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "no JSON"),
        (b"<html>", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "nothing that we know"),
        (body([[1, 2]], code="NoTable"), "NoTable"),
        (body([[1, 2]], code="x<script>"), "nothing that we know"),
        (b'{"code": "Ok"}', "not one row"),
        (body([]), "not one row"),
        (body([[1, 2], [3, 4]]), "not one row"),
        (body([5]), "not one row"),
        (body([[180]]), "1 of 2"),
        (body([[180, 1500, 3]]), "3 of 2"),
        (body([[180, 1500]], sources=[{"distance": 52_000}]), "52000 m from any road"),
    ],
)
def test_an_answer_of_another_shape_is_refused(answer: bytes, words: str):
    with pytest.raises(RoadTimesFailed, match=words):
        read(answer, START, [NEAR, FAR])


def test_what_else_stands_in_an_answer_is_not_looked_at():
    more: dict[str, Any] = {"sources": [{"distance": "near"}], "destinations": 7}
    assert read(body([[180]], **more), START, [NEAR]).durations_s == (180.0,)
    assert MAX_BYTES > 1000 * MOST_PLACES


@pytest.mark.parametrize("url", ["osrm:5000", "ftp://osrm.example", "http://", "/table"])
def test_an_address_that_is_none_is_said_at_the_start(url: str):
    with pytest.raises(BadSetting, match="GOLDENTIME_ROAD_TIMES_URL"):
        Osrm(Settings(road_times_url=url))


@pytest.mark.parametrize("timeout_s", [0, -1, 31, float("nan")])
def test_a_wait_that_is_none_is_said_at_the_start(timeout_s: float):
    with pytest.raises(BadSetting, match="GOLDENTIME_ROAD_TIMES_TIMEOUT_S"):
        Osrm(Settings(road_times_timeout_s=timeout_s))


def test_it_says_whether_it_is_on_and_shows_no_password():
    off = Settings()
    assert "GOLDENTIME_ROAD_TIMES_URL" in said_at_start(off)
    on = replace(off, road_times_url="http://user:secret@osrm.example:5000")
    assert "osrm.example" in said_at_start(on)
    assert "secret" not in said_at_start(on)


@pytest.mark.parametrize("latitude", [-90.0, -0.0001, 0.001, 37.5001, 90.0])
@pytest.mark.parametrize("longitude", [-180.0, -0.0001, 127.0001, 180.0])
def test_a_square_holds_its_middle(latitude: float, longitude: float):
    square = Square.of(Position(latitude, longitude))
    assert abs(square.middle.latitude - latitude) <= SQUARE_DEGREES
    assert abs(square.middle.longitude - longitude) <= SQUARE_DEGREES
