"""The order of emergency rooms: each part alone, the whole by property, the demo city."""

from __future__ import annotations

import json
import math
import string
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args
from uuid import UUID

import pytest
from hypothesis import given, settings, strategies as st

from dispatch import weights
from dispatch.routing import (
    EmergencyCentreLevel,
    EmergencyRoomFacts,
    Ranked,
    choose,
    choose_beside,
    choose_set,
    explain,
    rank,
    why_not_nearest,
)
from dispatch.routing_reasons import (
    CAPABILITY_TEXT,
    PART_TEXT,
    ROUTING_REASON_TEXT,
    Part,
    RoutingReasonCode,
)
from dispatch.travel import Position
from dispatch.triage import Capability, Language

# No deadline: a busy machine is not a defect. Few: the whole ring stays under five seconds.
few = settings(max_examples=25, deadline=None)

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
HERE = Position(37.5665, 126.9780)
DEMO_CITY = Path(__file__).parents[2] / "web" / "demo_city"


def room(number: int = 1, **known: Any) -> EmergencyRoomFacts:
    facts: dict[str, Any] = {
        "id": UUID(int=number),
        "name": f"Room {number}",
        "latitude": 37.57,
        "longitude": 126.98,
        "capabilities": frozenset(Capability),
        "beds_available": 3,
        "beds_at": NOW,
    }
    return EmergencyRoomFacts(**{**facts, **known})


def order(*rooms: EmergencyRoomFacts, acuity: int = 3, **known: Any) -> list[int]:
    return [r.id.int for r in rank(HERE, (), acuity, rooms, now=NOW, **known)]


def part(name: Part, facts: EmergencyRoomFacts, acuity: int = 3, **known: Any) -> float:
    needs = known.pop("needs", ())
    return rank(HERE, needs, acuity, [facts], now=NOW, **known)[0].parts[name]


def codes(ranked: Ranked) -> set[RoutingReasonCode]:
    return {reason.code for reason in ranked.reasons}


def test_parts_add_up_to_the_expected_minutes() -> None:
    (result,) = rank(HERE, [Capability.CT], 2, [room(capabilities=frozenset())], now=NOW)
    assert result.expected_min == pytest.approx(sum(result.parts.values()))
    assert set(result.parts) == set(Part)
    assert result.eta_min is not None
    assert result.parts[Part.TRAVEL] == pytest.approx(1.5 * result.eta_min)


def test_the_nearest_of_equals_is_first() -> None:
    assert order(room(1, latitude=37.65), room(2, latitude=37.58), room(3, latitude=37.6)) == [
        2,
        3,
        1,
    ]


def test_a_capability_that_is_needed_outweighs_a_short_way() -> None:
    near = room(1, capabilities=frozenset())
    far = room(2, latitude=37.62)
    needs = [Capability.THORACIC_SURGERY]
    ranked = rank(HERE, needs, 3, [near, far], now=NOW)
    assert [r.id.int for r in ranked] == [2, 1]
    assert RoutingReasonCode.MISSING_CAPABILITY in codes(ranked[1])
    assert order(near, far) == [1, 2]
    # The dying patient goes to the nearest all the same.
    assert rank(HERE, needs, 1, [near, far], now=NOW)[0].id.int == 1


def test_a_wish_weighs_less_than_a_need_and_one_in_both_is_a_need() -> None:
    without = room(capabilities=frozenset(Capability) - {Capability.ECMO})
    need = part(Part.CAPABILITIES, without, needs=[Capability.ECMO])
    wish = part(Part.CAPABILITIES, without, wished=[Capability.ECMO])
    assert 0 < wish == weights.WISHED_SHARE * need < need
    both = part(Part.CAPABILITIES, without, needs=[Capability.ECMO], wished=[Capability.ECMO])
    assert both == need
    (ranked,) = rank(HERE, (), 3, [without], now=NOW, wished=[Capability.ECMO])
    assert RoutingReasonCode.MISSING_WISH in codes(ranked)
    assert part(Part.CAPABILITIES, room(), wished=list(Capability)) == 0


def test_a_need_listed_twice_counts_once() -> None:
    bare = room(capabilities=frozenset())
    assert part(Part.CAPABILITIES, bare, needs=[Capability.CT, Capability.CT]) == 15


def test_a_life_threat_weighs_the_way_more() -> None:
    near_full = room(1, beds_available=0)
    far_free = room(2, latitude=37.65, beds_available=9)
    assert order(near_full, far_free, acuity=1) == [1, 2]
    assert part(Part.TRAVEL, far_free, 1) == 3 * part(Part.TRAVEL, far_free, 3)


@pytest.mark.parametrize(
    ("beds", "age_min", "minutes"),
    [
        (1, 0, 4), (2, 0, 2), (8, 0, 0.5), (0, 0, 20), (-1, 0, 22), (-12, 0, 40), (-500, 0, 40),
        (0, 15, 15), (2, 15, 6), (0, 30, 12.5), (None, 0, 10), (0, -2, 20), (0, -3, 10),
    ],
)  # fmt: skip
def test_bed_figures_decay_to_unknown(beds: int | None, age_min: float, minutes: float) -> None:
    facts = room(beds_available=beds, beds_at=NOW - timedelta(minutes=age_min))
    assert part(Part.BEDS, facts) == pytest.approx(minutes)


def test_beds_without_their_time_are_unknown_and_old_ones_nearly() -> None:
    assert part(Part.BEDS, room(beds_at=None)) == 10
    ancient = room(beds_available=-9, beds_at=NOW - timedelta(days=4000))
    assert part(Part.BEDS, ancient) == 10
    assert RoutingReasonCode.BEDS_STALE in codes(rank(HERE, (), 3, [ancient], now=NOW)[0])


def test_slow_and_seldom_answers_cost_minutes() -> None:
    prior = part(Part.ANSWER, room())
    assert part(Part.ANSWER, room(answer_rate=0.6, accept_rate=0.5, median_answer_s=60)) == prior
    never = part(Part.ANSWER, room(answer_rate=0.0, accept_rate=0.0))
    assert prior < never == weights.FAILED_OFFER_MIN
    assert part(Part.ANSWER, room(answer_rate=1, accept_rate=1, median_answer_s=10)) < prior
    assert part(Part.ANSWER, room(answer_rate=1, median_answer_s=1e9)) == weights.FAILED_OFFER_MIN


def test_asked_before_goes_back_but_stays_in_the_list() -> None:
    first, second = room(1), room(2, latitude=37.58)
    assert order(first, second) == [1, 2]
    assert order(first, second, asked={first.id: 1}) == [2, 1]
    assert order(first, second, asked={first.id: 1, second.id: 2, UUID(int=99): 7}) == [1, 2]


def test_centre_level_follows_urgency() -> None:
    regional = room(1, level=EmergencyCentreLevel.REGIONAL)
    local = room(2, level=EmergencyCentreLevel.LOCAL)
    assert [order(regional, local, acuity=a)[0] for a in (1, 2, 3, 4, 5)] == [1, 1, 1, 2, 2]


def test_very_far_ones_stay_candidates() -> None:
    busan = room(1, latitude=35.18, longitude=129.08)
    ranked = rank(HERE, (), 3, [busan], now=NOW)
    assert choose(ranked) == ranked
    assert RoutingReasonCode.FAR in codes(ranked[0])
    assert ranked[0].parts[Part.FAR] > 0


def test_diversion_is_last_and_only_chosen_when_there_is_nothing_else() -> None:
    diverted = room(1, on_diversion=True)
    open_room = room(2, latitude=37.9, beds_available=-30)
    ranked = rank(HERE, (), 1, [diverted, open_room], now=NOW)
    assert [r.id.int for r in ranked] == [2, 1]
    assert [r.id.int for r in choose(ranked)] == [2]
    reason = why_not_nearest(ranked, choose(ranked))
    assert reason is not None
    assert reason.code is RoutingReasonCode.ON_DIVERSION
    alone = choose(rank(HERE, (), 1, [diverted], now=NOW))
    assert [r.id.int for r in alone] == [1]
    assert alone[0].excluded_reason is not None


def test_a_pinned_room_is_first_and_a_vetoed_one_never_asked() -> None:
    rooms = [room(n, latitude=37.57 + n / 100) for n in range(1, 7)]
    rooms[5] = replace(rooms[5], on_diversion=True)
    ranked = rank(HERE, (), 3, rooms, now=NOW)

    def chosen(n: int = 3, pinned: set[int] = frozenset(), vetoed: set[int] = frozenset()) -> Any:
        ids = ({UUID(int=i) for i in numbers} for numbers in (pinned, vetoed))
        return [r.id.int for r in choose(ranked, n, pinned=next(ids), vetoed=next(ids))]

    assert chosen() == [1, 2, 3]
    assert chosen(pinned={5}) == [5, 1, 2]
    assert chosen(pinned={6}) == [6, 1, 2]  # a person knows that the diversion does not hold
    assert chosen(pinned={2, 3, 4, 5}) == [2, 3, 4, 5]
    assert chosen(vetoed={1, 3}) == [2, 4, 5]
    assert chosen(pinned={4, 1}, vetoed={1}) == [4, 2, 3]
    assert chosen(pinned={99}, vetoed={98}) == [1, 2, 3]
    assert chosen(vetoed={1, 2, 3, 4, 5}) == [6]
    assert chosen(vetoed={1, 2, 3, 4, 5, 6}) == []


def test_unknown_position_ranks_by_the_rest() -> None:
    full_near, free_far = room(1, beds_available=-5), room(2, latitude=35.0)
    ranked = rank(None, (), 1, [full_near, free_far], now=NOW)
    assert [r.id.int for r in ranked] == [2, 1]
    assert {(r.eta_min, r.distance_km) for r in ranked} == {(None, None)}
    assert RoutingReasonCode.POSITION_UNKNOWN in codes(ranked[0])
    assert why_not_nearest(ranked, ranked[:1]) is None


def test_why_not_the_nearest() -> None:
    near, far = room(1, beds_available=-8), room(2, latitude=37.6)
    ranked = rank(HERE, (), 3, [near, far], now=NOW)
    reason = why_not_nearest(ranked, choose(ranked, 1))
    assert reason is not None
    assert reason.params["part"] == Part.BEDS
    assert explain(reason, "en").endswith("more expected through: beds")
    assert "병상" in explain(reason, "ko")
    assert why_not_nearest(ranked, choose(ranked, 2)) is None
    assert why_not_nearest([], []) is None


def test_zero_emergency_rooms() -> None:
    assert choose(rank(HERE, [Capability.CT], 1, [], now=NOW)) == []


def test_equal_scores_go_by_id() -> None:
    assert order(room(3), room(1), room(2)) == [1, 2, 3]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"latitude": math.nan}, "latitude"),
        ({"longitude": math.inf}, "longitude"),
        ({"latitude": 91.0}, "latitude"),
        ({"latitude": 0.0, "longitude": 0.0}, "latitude, longitude"),
        ({"beds_available": math.nan}, "beds_available"),
        ({"beds_available": -math.inf}, "beds_available"),
        ({"answer_rate": 1.01}, "answer_rate"),
        ({"accept_rate": math.nan}, "accept_rate"),
        ({"median_answer_s": -1.0}, "median_answer_s"),
        ({"median_answer_s": math.inf}, "median_answer_s"),
        ({"offers_observed": -1}, "offers_observed"),
        ({"refused_min": (3.0, math.nan)}, "refused_min"),
        ({"refused_min": (-1.0,)}, "refused_min"),
        ({"beds_at": datetime(2026, 11, 22)}, "beds_at"),
    ],
)
def test_bad_facts_name_the_room_and_the_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=rf"^emergency room 'Room 7' \(.*\): {field}: "):
        room(7, **changes)


@pytest.mark.parametrize(
    ("known", "field"),
    [
        ({"acuity": 0}, "acuity"),
        ({"acuity": 6}, "acuity"),
        ({"acuity": math.nan}, "acuity"),
        ({"now": datetime(2026, 11, 22)}, "now"),
        ({"asked": {UUID(int=1): -1}}, "asked"),
        ({"asked": {UUID(int=1): math.nan}}, "asked"),
        ({"emergency_rooms": [room(1), room(1)]}, "emergency_rooms"),
    ],
)
def test_bad_arguments_name_the_field(known: dict[str, Any], field: str) -> None:
    arguments: dict[str, Any] = {
        "position": HERE,
        "needs": (),
        "acuity": 3,
        "emergency_rooms": [room(1)],
        "now": NOW,
    }
    with pytest.raises(ValueError, match=f"^{field}"):
        rank(**{**arguments, **known})


def test_every_text_has_both_languages_with_the_same_parameters() -> None:
    assert set(ROUTING_REASON_TEXT) == set(RoutingReasonCode)
    assert set(CAPABILITY_TEXT) == set(weights.MISSING_CAPABILITY_MIN) == set(Capability)
    assert set(PART_TEXT) == set(Part)
    for texts in ROUTING_REASON_TEXT.values():
        assert set(texts) == set(get_args(Language))
        names = [{n for _, n, _, _ in string.Formatter().parse(t) if n} for t in texts.values()]
        assert names[0] == names[1]


positions = st.none() | st.builds(Position, st.floats(37.4, 37.7), st.floats(126.7, 127.2))
needs_lists = st.lists(st.sampled_from(Capability), max_size=4)
rates = st.none() | st.floats(0, 1)
room_facts = st.fixed_dictionaries(
    {
        "latitude": st.floats(37.4, 37.7),
        "longitude": st.floats(126.7, 127.2),
        "capabilities": st.frozensets(st.sampled_from(Capability)),
        "on_diversion": st.booleans(),
        "beds_available": st.none() | st.integers(-40, 40),
        "beds_at": st.none() | st.integers(-10, 600).map(lambda m: NOW - timedelta(minutes=m)),
        "answer_rate": rates,
        "accept_rate": rates,
        "median_answer_s": st.none() | st.floats(0, 3600),
        "level": st.sampled_from(EmergencyCentreLevel),
        "offers_observed": st.none() | st.integers(0, 1000),
    }
)
cities = st.lists(room_facts, min_size=1, max_size=8).map(
    lambda many: [room(number, **facts) for number, facts in enumerate(many, 1)]
)
acuities = st.integers(1, 5)


@few
@given(positions, needs_lists, acuities, cities, st.randoms(use_true_random=False))
def test_the_order_of_the_input_never_matters(
    position: Position | None,
    needs: list[Capability],
    acuity: int,
    city: list[EmergencyRoomFacts],
    random: Any,
) -> None:
    shuffled = random.sample(city, len(city))
    ranked = rank(position, needs, acuity, city, now=NOW)
    assert rank(position, reversed(needs), acuity, shuffled, now=NOW) == ranked
    assert all(math.isfinite(r.expected_min) and r.expected_min >= 0 for r in ranked)
    for reason in (reason for r in ranked for reason in r.reasons):
        assert explain(reason, "ko")


@few
@given(positions, needs_lists, acuities, cities)
def test_diverted_ones_are_never_chosen_while_others_exist(
    position: Position | None,
    needs: list[Capability],
    acuity: int,
    city: list[EmergencyRoomFacts],
) -> None:
    chosen = choose(rank(position, needs, acuity, city, now=NOW))
    open_count = sum(not facts.on_diversion for facts in city)
    assert len(chosen) == min(3, open_count or len(city))
    assert all(r.excluded_reason is None for r in chosen) or open_count == 0


@few
@given(needs_lists, acuities, cities)
def test_one_that_is_better_in_everything_is_first(
    needs: list[Capability], acuity: int, city: list[EmergencyRoomFacts]
) -> None:
    level = EmergencyCentreLevel.REGIONAL if acuity <= 2 else EmergencyCentreLevel.LOCAL
    best = room(
        999,
        latitude=HERE.latitude,
        longitude=HERE.longitude,
        beds_available=41,
        answer_rate=1.0,
        accept_rate=1.0,
        median_answer_s=0.0,
        level=level,
        offers_observed=1001,
    )
    assert rank(HERE, needs, acuity, [*city, best], now=NOW)[0].id == best.id


@few
@given(positions, needs_lists, acuities, cities, st.data())
def test_an_improvement_never_costs_minutes(
    position: Position | None,
    needs: list[Capability],
    acuity: int,
    city: list[EmergencyRoomFacts],
    data: st.DataObject,
) -> None:
    facts = city[0]
    better = replace(
        facts,
        capabilities=facts.capabilities | data.draw(st.frozensets(st.sampled_from(Capability))),
        beds_available=None
        if facts.beds_available is None
        else facts.beds_available + data.draw(st.integers(0, 5)),
        answer_rate=None if facts.answer_rate is None else (facts.answer_rate + 1) / 2,
        accept_rate=None if facts.accept_rate is None else (facts.accept_rate + 1) / 2,
        median_answer_s=None if facts.median_answer_s is None else facts.median_answer_s / 2,
    )
    (before,), (after,) = (rank(position, needs, acuity, [f], now=NOW) for f in (facts, better))
    assert after.expected_min <= before.expected_min + 1e-9


def demo_city() -> tuple[list[EmergencyRoomFacts], dict[str, Position]]:
    rooms = json.loads((DEMO_CITY / "emergency_rooms.json").read_text("utf-8"))["emergency_rooms"]
    crews = json.loads((DEMO_CITY / "ambulances.json").read_text("utf-8"))["ambulances"]
    facts = [
        EmergencyRoomFacts(
            id=UUID(row["id"]),
            name=row["name"],
            latitude=row["latitude"],
            longitude=row["longitude"],
            capabilities=frozenset(Capability(name) for name in row["capabilities"]),
            on_diversion=row["on_diversion"],
            beds_available=row["beds_available"],
            beds_at=NOW,
            level=EmergencyCentreLevel(row["level"]),
        )
        for row in rooms
    ]
    assert len({row["name_ko"] for row in rooms} | {row["name"] for row in rooms}) == 50
    assert {row["phone"] for row in rooms} == {f"02-000-{n:04d}" for n in range(101, 126)}
    places = {(row["latitude"], row["longitude"]) for row in [*rooms, *crews]}
    assert len(places) == len(rooms) + len(crews)
    assert all(37.42 < north < 37.71 and 126.76 < east < 127.19 for north, east in places), "Seoul"
    return facts, {row["call_sign"]: Position(row["latitude"], row["longitude"]) for row in crews}


@pytest.mark.parametrize("acuity", [1, 2, 3, 4, 5])
def test_the_demo_city_has_three_for_every_ambulance(acuity: int) -> None:
    rooms, crews = demo_city()
    assert (len(rooms), len(crews)) == (25, 6)
    for position in crews.values():
        needs = [Capability.THORACIC_SURGERY, Capability.CT]
        chosen = choose(rank(position, needs, acuity, rooms, now=NOW))
        assert len({r.id for r in chosen}) == 3
        assert all(r.excluded_reason is None for r in chosen)
        assert all(r.eta_min is not None and r.eta_min < 45 for r in chosen)


def test_the_set_beats_the_first_three_of_the_order() -> None:
    """Three neighbours are best alone; the third place goes to one that does not fill with them."""
    known = {"latitude": 37.5665, "answer_rate": 0.6, "accept_rate": 0.6}
    near = [room(n, longitude=126.998 + n / 2000, **known) for n in (1, 2, 3)]
    apart = room(4, longitude=127.0001, **known)
    ranked = rank(HERE, (), 3, [*near, apart], now=NOW)
    assert [r.id.int for r in ranked] == [1, 2, 3, 4]
    chosen = choose_set(ranked)
    assert [r.id.int for r in chosen.rooms] == [1, 2, 4]
    assert chosen.gap_min == 0
    assert chosen.not_nearest is None


def test_who_is_asked_in_the_place_of_a_no_joins_a_set() -> None:
    """Alone the neighbour is better; beside two of its neighbourhood the one apart is."""
    known = {"latitude": 37.5665, "answer_rate": 0.6, "accept_rate": 0.6}
    near = [room(n, longitude=126.998 + n / 2000, **known) for n in (1, 2, 3)]
    apart, shut = room(4, longitude=127.0001, **known), room(5, on_diversion=True)
    ranked = rank(HERE, (), 3, [*near, apart, shut], now=NOW)

    def instead(*asked: int) -> list[int]:
        return [r.id.int for r in choose_beside(ranked, {UUID(int=n) for n in asked}).rooms]

    assert [r.id.int for r in choose(ranked, 1)] == [1]
    assert instead(2, 3) == [4]
    assert instead(2, 4) == [1]
    assert instead() == [1]
    assert instead(1, 2, 3, 4) == []  # nobody is left but one on diversion
    both = choose_beside(ranked, {UUID(int=2), UUID(int=3)})
    assert both.yes_probability > choose_set(ranked, 1).yes_probability


def test_why_the_nearest_of_a_better_set_is_not_asked() -> None:
    """The nearest costs no more in any part, but its yes is unlikely."""
    mute = room(1, latitude=37.5670, answer_rate=0.02, accept_rate=0.02, median_answer_s=1)
    others = [
        room(n, latitude=37.5670 + n / 90, answer_rate=0.6, accept_rate=0.6) for n in (2, 3, 4)
    ]
    chosen = choose_set(rank(HERE, (), 3, [mute, *others], now=NOW))
    assert [r.id.int for r in chosen.rooms] == [2, 3, 4]
    assert chosen.not_nearest is not None
    assert explain(chosen.not_nearest, "en")
    vetoed = choose_set(rank(HERE, (), 3, [mute, *others], now=NOW), vetoed={mute.id})
    assert vetoed.not_nearest is not None
    assert explain(vetoed.not_nearest, "ko") == "상황실에서 제외함"


def test_a_late_yes_is_none() -> None:
    slow, quick = room(1, median_answer_s=600), room(2, median_answer_s=10)
    ranked = rank(HERE, (), 3, [slow, quick], now=NOW, answer_within_s=60)
    chances = {r.id.int: r.yes_probability for r in ranked}
    assert chances[2] > 5 * chances[1]


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"beds_available": 3}, {"beds_available": 1}),
        ({"beds_available": 1}, {"beds_available": None}),
        ({"beds_available": None}, {"beds_available": 0}),
        ({"beds_available": 0}, {"beds_available": -4}),
        ({}, {"capabilities": frozenset()}),
        ({"accept_rate": 0.6}, {"accept_rate": 0.4}),
        ({"answer_rate": 0.6}, {"answer_rate": 0.4}),
    ],
)
def test_what_makes_a_yes_likelier(better: dict[str, Any], worse: dict[str, Any]) -> None:
    chances = [
        rank(HERE, [Capability.CT], 3, [room(**known)], now=NOW)[0].yes_probability
        for known in (better, worse)
    ]
    assert chances[0] > chances[1]


def test_a_refusal_of_the_last_hour_weighs_and_fades_and_hides_nobody() -> None:
    ages: list[tuple[float, ...]] = [(), (55,), (20,), (1,), (1, 5), (1, 2, 3, 4), (1,) * 40]
    ranked = [rank(HERE, (), 3, [room(refused_min=told)], now=NOW)[0] for told in ages]
    yes = [r.yes_probability for r in ranked]
    minutes = [r.parts[Part.ANSWER] for r in ranked]
    assert yes == sorted(yes, reverse=True)
    assert minutes == sorted(minutes)
    assert yes[4] < yes[3] < yes[2] < yes[0]
    assert yes[-1] == yes[-2] > 0.02, "past a few they say nothing new"
    assert all(r.excluded_reason is None for r in ranked)
    assert RoutingReasonCode.REFUSED_LATELY not in codes(ranked[0])
    (told,) = (r for r in ranked[4].reasons if r.code is RoutingReasonCode.REFUSED_LATELY)
    assert explain(told, "ko") == "최근 1시간 내 유사 환자 수용 곤란 2회, 마지막 1분 전"
    assert "hour: 2, the last 1 min ago" in explain(told, "en")


def test_a_hospital_registered_twice_is_asked_once_while_there_are_others() -> None:
    twice = [room(n, latitude=37.5700, longitude=126.9800) for n in (1, 2)]
    others = [room(n, latitude=37.57 + n / 50) for n in (3, 4)]
    ranked = rank(HERE, (), 3, [*twice, *others], now=NOW)
    assert [r.id.int for r in choose(ranked)] == [1, 3, 4]
    assert [r.id.int for r in choose(ranked, 4)] == [1, 2, 3, 4]
    assert [r.id.int for r in choose(ranked, pinned={twice[1].id})] == [2, 3, 4]
    assert [r.id.int for r in choose(rank(HERE, (), 3, twice, now=NOW))] == [1, 2]


def test_an_emergency_room_without_a_position_stays_in_the_list() -> None:
    lost = room(1, latitude=None, longitude=None)
    near, busan = room(2), room(3, latitude=35.18, longitude=129.08)
    ranked = rank(HERE, (), 3, [lost, near, busan], now=NOW)
    assert [r.id.int for r in ranked] == [2, 1, 3]
    assert (ranked[1].eta_min, ranked[1].distance_km, ranked[1].eta_source) == (None, None, None)
    assert RoutingReasonCode.ER_POSITION_UNKNOWN in codes(ranked[1])
    assert len(choose(ranked)) == 3
    with pytest.raises(ValueError, match="longitude"):
        room(longitude=None)


def test_all_on_diversion_far_at_sea_and_over_capacity_still_gets_three() -> None:
    sea = Position(34.0, 124.5)  # no road leads there
    rooms = [room(n, latitude=37 + n / 10, on_diversion=True, beds_available=-12) for n in range(5)]
    chosen = choose_set(rank(sea, list(Capability), 1, rooms, now=NOW))
    assert len(chosen.rooms) == 3
    assert all(r.excluded_reason is not None for r in chosen.rooms)
    assert all(r.eta_min and math.isfinite(r.eta_min) for r in chosen.rooms)
