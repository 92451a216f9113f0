"""Times ranking and choosing among many emergency rooms: `python -m tests.bench.choice`."""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from dispatch import road_times, travel
from dispatch.routing import EmergencyCentreLevel, EmergencyRoomFacts, choose_set, rank
from dispatch.travel import Position, Travel, TravelSource
from dispatch.triage import Capability

NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)


def country(count: int, seed: int) -> list[EmergencyRoomFacts]:
    """Emergency rooms scattered over a country, all facts known."""
    chance = random.Random(seed)
    return [
        EmergencyRoomFacts(
            id=UUID(int=chance.getrandbits(128)),
            name=f"ER {number}",
            latitude=chance.uniform(34.5, 38),
            longitude=chance.uniform(126.5, 129.3),
            capabilities=frozenset(chance.sample(list(Capability), 6)),
            on_diversion=chance.random() < 0.1,
            beds_available=chance.randint(-10, 20),
            beds_at=NOW - timedelta(minutes=chance.uniform(0, 60)),
            answer_rate=chance.uniform(0.02, 0.98),
            accept_rate=chance.uniform(0.02, 0.98),
            median_answer_s=chance.uniform(10, 300),
            refused_min=(chance.uniform(0, 60),) if number % 10 == 0 else (),
            level=chance.choice(list(EmergencyCentreLevel)),
        )
        for number in range(count)
    ]


def roads(here: Position, rooms: Sequence[EmergencyRoomFacts], known: int) -> dict[UUID, Travel]:
    """Ways by road to so many of the nearest, half as long again as the estimate."""
    ways = []
    for room in rooms:
        assert room.latitude is not None
        assert room.longitude is not None
        estimated = travel.estimate(here, Position(room.latitude, room.longitude))
        ways.append((estimated.distance_km, room.id, estimated.eta_min * 1.5))
    return {id_: Travel(km, eta, TravelSource.ROAD) for km, id_, eta in sorted(ways)[:known]}


def measure(rooms: Sequence[EmergencyRoomFacts], times: int, seed: int, known: int) -> None:
    """Print the milliseconds of ranking and choosing with so many ways known by road."""
    chance = random.Random(seed)
    ranking_ms, choosing_ms, processor_ms, gaps = [], [], [], []
    for _ in range(times):
        here = Position(chance.uniform(34.5, 38), chance.uniform(126.5, 129.3))
        needs, acuity = chance.sample(list(Capability), 3), chance.randint(1, 5)
        by_road = roads(here, rooms, known)
        worked_s, start = time.thread_time(), time.perf_counter()
        ranked = rank(here, needs, acuity, rooms, now=NOW, by_road=by_road, answer_within_s=120)
        ranked_at = time.perf_counter()
        chosen = choose_set(ranked)
        choosing_ms.append((time.perf_counter() - ranked_at) * 1000)
        ranking_ms.append((ranked_at - start) * 1000)
        processor_ms.append((time.thread_time() - worked_s) * 1000)
        gaps.append(chosen.gap_min)
    both = sorted(a + b for a, b in zip(ranking_ms, choosing_ms, strict=True))
    print(
        f"{len(rooms)} emergency rooms, {known} ways by road, {times} cases, milliseconds:\n"
        f"  both: median {statistics.median(both):.1f}, best {both[0]:.1f},"
        f" p95 {both[int(0.95 * (len(both) - 1))]:.1f}, worst {both[-1]:.1f}\n"
        f"  of the processor: median {statistics.median(processor_ms):.1f},"
        f" p95 {sorted(processor_ms)[int(0.95 * (times - 1))]:.1f}\n"
        f"  rank: median {statistics.median(ranking_ms):.1f};"
        f" choose: median {statistics.median(choosing_ms):.1f}\n"
        f"  proven the best: {sum(g == 0 for g in gaps)} of {len(gaps)};"
        f" largest gap {max(gaps):.2f} min"
    )


def main() -> None:
    """Print how long a choice takes: ways estimated, known as far as is asked for, all known."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="example: python -m tests.bench.choice --rooms 5000 --times 100"
    )
    parser.add_argument("--rooms", type=int, default=5000, help="how many (default %(default)s)")
    parser.add_argument("--times", type=int, default=100, help="cases (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the country and the cases")
    options = parser.parse_args()
    rooms = country(options.rooms, options.seed)
    for known in (0, road_times.NEAREST, options.rooms):
        measure(rooms, options.times, options.seed, known)


if __name__ == "__main__":
    main()
