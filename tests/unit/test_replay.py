"""A few hours of the replayed city: it repeats, it reports, it refuses bad scenario files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from broker.errors import Invalid
from broker.settings import Settings
from dispatch.replay import cli, figures, scenario, simulate
from dispatch.replay.policies import WAITING, Policy


def test_every_shipped_scenario_loads() -> None:
    assert len(scenario.names()) == 7
    for name in scenario.names():
        assert set(scenario.load(name).title) == {"en", "ko"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ("changes: {nonsense: 1}", "no parameter 'nonsense'"),
        ("changes: {days: .nan}", "days"),
        ("changes: {answer_rate: 1.2}", "answer_rate"),
        ("changes: {ambulances: 1.5}", "whole number"),
        ("changes: [1]", "mapping"),
        ("- 1", "mapping"),
        ("a: [", "no YAML"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, changes: str, said: str) -> None:
    path = tmp_path / "mine.yaml"
    title = "" if changes.startswith(("-", "a")) else "title: {en: a, ko: b}\n"
    path.write_text(title + changes)
    with pytest.raises(Invalid, match=said):
        scenario.load(str(path))


def test_the_same_seed_gives_the_same_run() -> None:
    p = scenario.load("ordinary").of(0.1).parameters
    first, second = (simulate.run(p, Policy.OURS, 3, {}) for _ in range(2))
    assert first.outcomes == second.outcomes
    assert first.outcomes


def test_ours_is_what_the_service_does_as_shipped() -> None:
    assert (Policy.OURS not in WAITING) is Settings().replace_declined


@pytest.mark.parametrize("policy", [Policy.OURS, Policy.OURS_WAITING])
def test_a_no_is_replaced_as_the_service_does_it(policy: Policy) -> None:
    """One for one and at most two rounds' worth, nobody who is asked, nobody on diversion."""
    city = simulate._City(scenario.load("winter_surge").of(0.2).parameters, policy, 3, {})
    city.world.rooms[0].on_diversion = True
    instead: list[int] = []
    ask = city._ask

    def watched(search: Any, steps: Any, picked: Any) -> None:
        assert not {room.number for room in picked} & set(search.open)
        if len(picked) == 1 and search.open:
            assert not picked[0].on_diversion
            instead.append(len(search.open))
        ask(search, steps, picked)

    city._ask = watched  # type: ignore[method-assign]
    city.play()
    assert bool(instead) is (policy is Policy.OURS)
    assert set(instead) <= {1, 2, 3, 4, 5}


def test_a_short_replay_reports_every_policy(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    page = tmp_path / "page.html"
    wanted = ["rural", "--days", "0.2", "--seeds", "2", "--learn", "1", "--page", str(page)]
    assert cli.replay(wanted) == 0
    out = capsys.readouterr().out
    assert all(policy.value in out for policy in Policy)
    assert "<svg" in page.read_text("utf-8")
    assert "http" not in page.read_text("utf-8").replace("https://", "")


def test_odds_are_never_learnt_on_reported_seeds() -> None:
    with pytest.raises(ValueError, match="seeds"):
        figures.replay(scenario.load("quiet"), [1, 2], [2])
