"""Travel times by road from an OSRM-compatible table service, over HTTP, as plain seconds.

Speaks HTTP and JSON only; who is asked about and who uses the answers is road_times.py's. The
format: project-osrm.org/docs/v5.24.0/api, table service. What cannot be believed is left out or
refused here: an answer is plain numbers or RoadTimesFailed, and no address is in its words.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import requests

from broker.errors import BadSetting, GoldentimeError
from broker.settings import Settings
from dispatch.travel import Position, great_circle_km

MOST_PLACES = 90
"""Destinations of one question: a service as it is shipped answers 100 coordinates at most."""
MAX_BYTES = 1024 * 1024
LONGEST_S = 6 * 3600.0
FASTEST_KMH = 200.0
"""A way that would have to be driven faster is not believed (wrong units, a wrong map)."""
NEAR_KM = 1.0
"""Below this, the rounding of the start to its square says nothing about speed."""
OFF_ROAD_M = 1000.0
"""A start so far from any road is not on this service's map."""


class RoadTimesFailed(GoldentimeError):
    """The road service gave nothing usable."""

    code = "road_times_failed"


@dataclass(frozen=True)
class Answer:
    """Seconds to each place in the order of the question; None = no way known, or not believed."""

    durations_s: tuple[float | None, ...]
    problems: tuple[str, ...] = ()


def configured(settings: Settings) -> bool:
    """Whether road times are asked for here."""
    return bool(settings.road_times_url)


def said_at_start(settings: Settings) -> str:
    """One line for the log: whether road times are on, and what to set when they are not."""
    if not configured(settings):
        return "road times are off, ways are estimated: set GOLDENTIME_ROAD_TIMES_URL"
    return (
        f"road times are on: {urlsplit(settings.road_times_url).hostname}, "
        f"at most {settings.road_times_timeout_s:g} s for an answer"
    )


class Osrm:
    """A client of the service; BadSetting unless its address is one of http or https."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.road_times_url.rstrip("/")
        self._timeout_s = settings.road_times_timeout_s
        url = urlsplit(self._url)
        if configured(settings) and (url.scheme not in {"http", "https"} or not url.hostname):
            raise BadSetting(
                "GOLDENTIME_ROAD_TIMES_URL must be an address such as http://osrm.example:5000"
            )
        if not 0 < self._timeout_s <= 30:
            raise BadSetting("GOLDENTIME_ROAD_TIMES_TIMEOUT_S must be more than 0, at most 30")

    def durations(self, start: Position, places: Sequence[Position]) -> Answer:
        """From one start to at most MOST_PLACES places, or RoadTimesFailed."""
        if not 0 < len(places) <= MOST_PLACES:
            raise ValueError(f"places: {len(places)} is not 1 to {MOST_PLACES}")
        points = ";".join(f"{p.longitude:.5f},{p.latitude:.5f}" for p in (start, *places))
        asked = {
            "sources": "0",
            "destinations": ";".join(str(n) for n in range(1, len(places) + 1)),
            "annotations": "duration",
        }
        return read(self._get(f"/table/v1/driving/{points}", asked), start, places)

    def _get(self, path: str, query: dict[str, str]) -> bytes:
        until = time.monotonic() + self._timeout_s
        with requests.Session() as client:
            client.trust_env = False  # no proxy and no .netrc of this machine
            try:
                with client.get(
                    self._url + path,
                    params=query,
                    timeout=self._timeout_s,
                    allow_redirects=False,
                    stream=True,
                ) as answer:
                    body = b""
                    for chunk in answer.iter_content(16 * 1024):
                        body += chunk
                        if len(body) > MAX_BYTES:
                            raise RoadTimesFailed(f"longer than {MAX_BYTES} bytes")
                        if time.monotonic() > until:  # a server that drips bytes
                            raise RoadTimesFailed(f"slower than {self._timeout_s:g} s")
                    if answer.status_code != 200:
                        said = _code(body)
                        raise RoadTimesFailed(
                            f"HTTP {answer.status_code}" + (f", {said}" if said else "")
                        )
                    return body
            except requests.RequestException as error:
                # Its text holds the whole address: only its kind is told.
                raise RoadTimesFailed(f"no answer: {type(error).__name__}") from None


def read(body: bytes, start: Position, places: Sequence[Position]) -> Answer:
    """The answer to a question, or RoadTimesFailed when it is none."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        raise RoadTimesFailed("the answer is no JSON") from None
    if not isinstance(said, dict) or said.get("code") != "Ok":
        raise RoadTimesFailed(f"the service says {_code(body) or 'nothing that we know'}")
    rows = said.get("durations")
    if not isinstance(rows, list) or len(rows) != 1 or not isinstance(rows[0], list):
        raise RoadTimesFailed("durations: not one row")
    if len(rows[0]) != len(places):
        raise RoadTimesFailed(f"durations: {len(rows[0])} of {len(places)}")
    if (away_m := _off_road_m(said)) > OFF_ROAD_M:
        raise RoadTimesFailed(f"the start is {away_m:.0f} m from any road of its map")
    found, problems = [], []
    for number, (seconds, place) in enumerate(zip(rows[0], places, strict=True)):
        wrong = None if seconds is None else _wrong(seconds, great_circle_km(start, place))
        if wrong:
            problems.append(f"durations[{number}]: {wrong}")
        found.append(None if seconds is None or wrong else float(seconds))
    return Answer(tuple(found), tuple(problems))


def _wrong(seconds: object, direct_km: float) -> str | None:
    """Why a duration is not believed."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return "no number"
    if not (math.isfinite(seconds) and 0 <= seconds <= LONGEST_S):
        return f"{str(seconds)[:20]} is not 0 to {LONGEST_S:g} s"
    if direct_km > NEAR_KM and direct_km / FASTEST_KMH * 3600 > seconds:
        return f"{seconds:g} s for {direct_km:.1f} km"
    return None


def _off_road_m(said: dict[str, object]) -> float:
    """How far the start was moved to reach a road; 0 where the service does not say."""
    sources = said.get("sources")
    first = sources[0] if isinstance(sources, list) and sources else None
    away = first.get("distance") if isinstance(first, dict) else None
    return float(away) if isinstance(away, int | float) and not isinstance(away, bool) else 0.0


def _code(body: bytes) -> str:
    """The service's own word for what is wrong, if it is one word."""
    try:
        code = json.loads(body).get("code")
    except (ValueError, AttributeError, RecursionError):
        return ""
    return code[:40] if isinstance(code, str) and code.isalnum() else ""
