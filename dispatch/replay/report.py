"""Figures as a text table and as one self-contained HTML page with curves.

Wording only: what is computed is figures.py's. No script, no font and no file from elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from dispatch.replay.figures import GROUPS, RATIOS, Figures, Interval, Result
from dispatch.replay.policies import POLICY_TEXT
from dispatch.replay.scenario import sources

COLUMNS = {
    "mean_min": "mean min",
    "p95_min": "p95 min",
    "p99_min": "p99 min",
    "worst_min": "worst min",
    "contacts": "contacts",
    "refused_by_all": "unplaced",
    "added_travel_min": "added travel min",
    "to_the_door_min": "to the door min",
    "lacking": "lacking",
}
"""Shown metrics; unplaced: share that nobody accepted in time; lacking: share accepted by an ER
that lacks something needed."""
COLOURS = ("#6b7280", "#b45309", "#1d4ed8", "#15803d", "#a21caf")
WIDTH, HEIGHT = 640, 260


def text(result: Result) -> str:
    """The figures of all acuities as lines for a terminal."""
    lines = [f"{result.scenario.name}: {result.scenario.title['en']}"]
    for policy, found in result.policies.items():
        cells = [f"{COLUMNS[name]} {_plain(found.by_group['all'][name])}" for name in COLUMNS]
        lines.append(f"  {policy}: " + "; ".join(cells))
        against = [f"{COLUMNS[n]} x{_plain(found.ratios['all'][n])}" for n in RATIOS]
        lines.append("    against the nearest three: " + "; ".join(against))
    return "\n".join(lines)


def page(results: Sequence[Result]) -> str:
    """Everything as one HTML page."""
    rows = "".join(
        f"<tr><td>{escape(name)}<td>{escape(str(value))}<td>{kind}<td>{escape(source)}"
        for name, value, kind, source in sources()
    )
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'><title>City replay</title>"
        "<style>body{font:15px system-ui;margin:1rem auto;max-width:75rem;padding:0 1rem}"
        "table{border-collapse:collapse;display:block;overflow-x:auto}"
        "td,th{border:1px solid #ccc;padding:.2rem .5rem;text-align:left}</style>"
        "<h1>City replay</h1><p>A simulation with stated parameters: it compares policies, it "
        "predicts no city. Intervals are 95 % over seeds. Minutes run from the first request to a "
        "confirmed bed.</p>"
        + "".join(_section(result) for result in results)
        + "<h2>Parameters</h2><table><tr><th>name<th>value<th>source<th>from"
        + rows
        + "</table></html>"
    )


def _section(result: Result) -> str:
    scenario = result.scenario
    tables = "".join(
        f"<h3>Acuity {group}</h3><table><tr><th>policy"
        + "".join(f"<th>{escape(label)}" for label in COLUMNS.values())
        + "<th>p95 against nearest three"
        + "".join(_row(POLICY_TEXT[p]["en"], f, group) for p, f in result.policies.items())
        + "</table>"
        for group in GROUPS
    )
    facts = ", ".join(f"{name} {value:.2f}" for name, value in result.facts.items())
    return (
        f"<h2>{escape(scenario.title['en'])} · {escape(scenario.title['ko'])}</h2>"
        f"<p>{escape(scenario.why)} Seeds {_span(result.seeds)}; odds learnt on seeds "
        f"{_span(result.learning_seeds)}. The world: {facts}.</p>{_curves(result)}{tables}"
    )


def _row(name: str, found: Figures, group: str) -> str:
    values = found.by_group[group]
    if not values:
        return f"<tr><th>{escape(name)}<td colspan='{len(COLUMNS) + 1}'>no such case"
    cells = "".join(f"<td>{_plain(values[column])}" for column in COLUMNS)
    return f"<tr><th>{escape(name)}{cells}<td>×{_plain(found.ratios[group]['p95_min'])}"


def _curves(result: Result) -> str:
    """Share of cases without a bed after so many minutes, a curve for each policy."""
    longest = max(
        [10.0, *(f.placed_min["all"][int(0.99 * (f.cases - 1))] for f in result.policies.values())]
    )
    lines = []
    for number, (policy, found) in enumerate(result.policies.items()):
        minutes, colour = found.placed_min["all"], COLOURS[number % len(COLOURS)]
        step = max(1, len(minutes) // 200)
        points = " ".join(
            f"{min(m / longest, 1) * WIDTH:.1f},{i / len(minutes) * HEIGHT:.1f}"
            for i, m in list(enumerate(minutes))[::step]
        )
        label = escape(POLICY_TEXT[policy]["en"])
        lines.append(
            f"<polyline fill='none' stroke='{colour}' stroke-width='2' points='{points}'/>"
            f"<text x='{WIDTH + 8}' y='{18 + 20 * number}' fill='{colour}'>{label}</text>"
        )
    return (
        f"<svg viewBox='0 0 {WIDTH + 280} {HEIGHT + 24}' role='img' aria-label='Share of cases "
        f"without a confirmed bed by minutes'>{''.join(lines)}<text x='0' y='{HEIGHT + 18}'>0 min: "
        f"share still without a bed, from all to none</text><text x='{WIDTH - 60}' "
        f"y='{HEIGHT + 18}'>{longest:.0f} min</text></svg>"
    )


def _span(seeds: Sequence[int]) -> str:
    return f"{min(seeds)} to {max(seeds)}" if seeds else "none"


def _plain(found: Interval) -> str:
    return f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]"
