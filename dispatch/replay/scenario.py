"""Scenario files: plain YAML in, checked numbers out.

Every number of the base file says whether it was published or assumed, and where from. Nothing is
simulated here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from broker.errors import Invalid

BASE = "ordinary"
SHARES = frozenset(
    {
        *("answer_rate", "night_silent_share", "night_silent_factor", "reminder_answers"),
        *("accept_free", "accept_last", "accept_full", "accept_full_acuity_1", "accept_missing"),
        *("night_specialist_absent", "phone_answered", "feed_match", "feed_frozen"),
        *("diversion_announced",),
    }
)
"""Fields that are chances, 0 to 1."""
COUNTS_ANY = frozenset({"city_seed", "surges_per_day", "regional", "local_centre", "local"})
"""Numbers that may be 0."""
TEMPORARY = (
    *("occupancy_factor", "stay_factor", "surges_per_day", "cases_per_day", "answer_factor"),
    *("feed_match", "feed_refresh_min", "feed_error", "feed_frozen"),
    *("closed_centre", "odds_shuffled"),
)
"""What passes: odds are learnt in the same city before it came."""


@dataclass(frozen=True)
class Parameters:
    """Every number of a replay; the meaning and source of each stand in ordinary.yaml."""

    city_seed: int
    radius_km: float
    regional: int
    local_centre: int
    local: int
    bays_regional: int
    bays_local_centre: int
    bays_local: int
    has_regional: Mapping[str, float]
    has_local_centre: Mapping[str, float]
    has_local: Mapping[str, float]
    occupancy_regional: float
    occupancy_local_centre: float
    occupancy_local: float
    occupancy_spread: float
    occupancy_factor: float
    stay_median_min: float
    stay_sigma: float
    stay_factor: float
    walk_ins_by_hour: tuple[float, ...]
    surges_per_day: float
    surge_radius_km: float
    surge_factor: float
    surge_h: float
    diversion_at: float
    diversion_ends_at: float
    diversion_announced: float
    cases_per_day: float
    cases_by_hour: tuple[float, ...]
    acuity_share: tuple[float, ...]
    kinds: tuple[Mapping[str, Any], ...]
    ambulances: int
    handover_min: float
    answer_rate: float
    answer_concentration: float
    answer_factor: float
    night_silent_share: float
    night_silent_factor: float
    answer_median_s: float
    answer_sigma: float
    reminder_answers: float
    accept_free: float
    accept_concentration: float
    accept_last: float
    accept_full: float
    accept_full_acuity_1: float
    accept_missing: float
    night_specialist_absent: float
    phone_answered: float
    call_median_min: float
    call_sigma: float
    feed_match: float
    feed_refresh_min: float
    feed_error: float
    feed_frozen: float
    screen_outages_per_week: float
    screen_outage_min: float
    travel_sigma: float
    rush_factor: float
    days: float
    warm_up_h: float
    closed_centre: bool
    odds_shuffled: bool

    def before(self, base: Parameters) -> Parameters:
        """The same city in ordinary times: where odds are learnt."""
        kept = {name: getattr(base, name) for name in TEMPORARY}
        return replace(self, **kept)


@dataclass(frozen=True)
class Scenario:
    """A named set of parameters, with what it stands for."""

    name: str
    title: Mapping[str, str]
    why: str
    changes: Mapping[str, Any]
    parameters: Parameters
    base: Parameters

    def of(self, days: float) -> Scenario:
        """The same with runs of so many days, and as much of a warm-up at most."""
        if not 0 < days < 366:
            raise Invalid(f"days: {days} is outside 0 to 366")
        warm_up_h = min(self.parameters.warm_up_h, days * 24)
        return replace(
            self,
            parameters=replace(self.parameters, days=days, warm_up_h=warm_up_h),
            base=replace(self.base, days=days, warm_up_h=warm_up_h),
        )


def names() -> list[str]:
    """Scenarios that are shipped, the base first."""
    folder = resources.files("dispatch.replay") / "scenarios"
    found = sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir())
    return [BASE, *(name for name in found if name != BASE)]


def load(name_or_path: str) -> Scenario:
    """A shipped scenario by name, or a file; Invalid names the file and the field."""
    base_text = _shipped(BASE)
    assert base_text is not None
    base = _parameters(_mapping(base_text, BASE), BASE)
    text = _shipped(name_or_path)
    if text is None:
        path = Path(name_or_path)
        if not path.is_file():
            raise Invalid(
                f"there is no scenario {name_or_path!r}: "
                f"name one of {', '.join(names())}, or a file"
            )
        text = path.read_text("utf-8")
    content = _mapping(text, name_or_path)
    changes = content.get("changes") or {}
    if not isinstance(changes, dict):
        raise Invalid(f"{name_or_path}: changes is no mapping of parameters to values")
    title = content.get("title")
    if not isinstance(title, dict) or not {"en", "ko"} <= set(title):
        raise Invalid(f"{name_or_path}: title needs words in en and ko")
    parameters = base
    if "parameters" in content:  # a base of its own
        parameters = base = _parameters(content, name_or_path)
    parameters = replace(base, **_checked(changes, name_or_path))
    return Scenario(
        name=str(content.get("name") or Path(name_or_path).stem),
        title=title,
        why=str(content.get("why") or ""),
        changes=changes,
        parameters=parameters,
        base=base,
    )


def sources() -> list[tuple[str, Any, str, str]]:
    """Name, value, kind of source and source of each base parameter, in the file's order."""
    text = _shipped(BASE)
    assert text is not None
    rows = _mapping(text, BASE)["parameters"]
    return [(name, row["value"], row["source"], row["from"]) for name, row in rows.items()]


def _shipped(name: str) -> str | None:
    if name not in names():
        return None
    return (resources.files("dispatch.replay") / "scenarios" / f"{name}.yaml").read_text("utf-8")


def _mapping(text: str, name: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise Invalid(f"{name}: no YAML: {error}") from error
    if not isinstance(content, dict):
        raise Invalid(f"{name}: no mapping; see dispatch/replay/scenarios for examples")
    return content


def _parameters(content: Mapping[str, Any], name: str) -> Parameters:
    rows = content.get("parameters")
    if not isinstance(rows, dict):
        raise Invalid(f"{name}: parameters are missing")
    values = {}
    for key, row in rows.items():
        if not isinstance(row, dict) or set(row) != {"value", "source", "from"}:
            raise Invalid(f"{name}: {key} needs value, source and from")
        if row["source"] not in {"published", "assumption"}:
            raise Invalid(f"{name}: source of {key} is neither published nor assumption")
        values[key] = row["value"]
    missing = {field.name for field in fields(Parameters)} - set(values)
    if missing:
        raise Invalid(f"{name}: missing: {', '.join(sorted(missing))}")
    return Parameters(**_checked(values, name))


def _checked(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    kinds = {field.name: str(field.type) for field in fields(Parameters)}
    return {key: _value(key, value, kinds.get(key), name) for key, value in values.items()}


def _value(key: str, value: Any, kind: str | None, name: str) -> Any:
    match kind:
        case None:
            raise Invalid(f"{name}: there is no parameter {key!r}")
        case "bool":
            if isinstance(value, bool):
                return value
            raise Invalid(f"{name}: {key}: {value!r} is not true or false")
        case "int" | "float":
            return _number(key, value, kind, name)
        case "tuple[float, ...]":
            length = 5 if key == "acuity_share" else 24
            if not isinstance(value, list) or len(value) != length:
                raise Invalid(f"{name}: {key}: a list of {length} numbers is needed")
            return tuple(_number(key, item, "float", name) for item in value)
        case "Mapping[str, float]":
            if not isinstance(value, dict):
                raise Invalid(f"{name}: {key}: capabilities and shares are needed")
            return value
        case _:
            if not isinstance(value, list) or not value:
                raise Invalid(f"{name}: {key}: a list is needed")
            return tuple(value)


def _number(key: str, value: Any, kind: str, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Invalid(f"{name}: {key}: {value!r} is no number")
    if kind == "int" and value != int(value):
        raise Invalid(f"{name}: {key}: {value!r} is no whole number")
    low = 0.0 if key in SHARES or key in COUNTS_ANY or key == "feed_error" else 1e-9
    high = 1.0 if key in SHARES else math.inf
    if kind == "float" and key in {"walk_ins_by_hour", "cases_by_hour", "acuity_share"}:
        low = 0.0
    if not low <= value <= high:
        raise Invalid(f"{name}: {key}: {value!r} is outside {low:g} to {high:g}")
    return int(value) if kind == "int" else float(value)
