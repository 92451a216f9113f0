"""The triage rules as configuration: what a film and vital signs ask for, read from a TOML file.

Reads and checks the file; what the rules are applied to is triage.py's. A file that loads is
monotone by construction: a row has a finding as something that is there, never as something absent,
and asks for a level that triage takes the minimum of. Errors name the file, the row and the field.
"""

from __future__ import annotations

import math
import re
import string
import tomllib
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

from broker.errors import BadSetting
from dispatch import news2
from dispatch.news2 import News2Score, VitalSigns

Language = Literal["en", "ko"]
SHIPPED = "triage_rules.toml"
MAX_BYTES = 1_000_000
FINDINGS = frozenset(
    {
        *("atelectasis", "cardiomegaly", "consolidation", "edema", "effusion", "emphysema"),
        *("fibrosis", "hernia", "infiltration", "mass", "nodule", "pleural_thickening"),
        *("pneumonia", "pneumothorax"),
    }
)
"""Labels of the shipped classifier; a file for other networks adds its own in about.findings."""


class Capability(StrEnum):
    """What an emergency room can offer around the clock; names follow the E-Gen bed fields."""

    THORACIC_SURGERY = "thoracic_surgery"
    THORACIC_ICU = "thoracic_icu"
    GENERAL_ICU = "general_icu"
    VENTILATOR = "ventilator"
    BRONCHOSCOPY = "bronchoscopy"
    CT = "ct"
    INTERVENTIONAL_RADIOLOGY = "interventional_radiology"
    CARDIOLOGY = "cardiology"
    ECMO = "ecmo"
    NEGATIVE_PRESSURE_ROOM = "negative_pressure_room"
    OPERATING_ROOM = "operating_room"
    PAEDIATRIC_EMERGENCY = "paediatric_emergency"


class Who(StrEnum):
    """For whom a row is meant; an unknown age counts as adult."""

    ADULT = "adult"
    CHILD = "child"  # under 16 years


class Strength(StrEnum):
    """How badly a capability is needed."""

    REQUIRED = "required"
    WISHED = "wished"


@dataclass(frozen=True)
class Facts:
    """What the rules look at: labels above threshold, rounded vital signs, NEWS2, child or not."""

    labels: Set[str]
    vitals: VitalSigns
    score: News2Score | None
    child: bool


@dataclass(frozen=True)
class Limit:
    """One vital sign that must be at least, or at most, a value; not measured means not met."""

    vital: str
    at_least: float = -math.inf
    at_most: float = math.inf

    def met(self, vitals: VitalSigns) -> bool:
        """Whether the measured value lies within."""
        value = getattr(vitals, self.vital)
        return value is not None and self.at_least <= value <= self.at_most


@dataclass(frozen=True)
class When:
    """All conditions of a row; each that is given must hold."""

    finding: str | None = None
    news2_at_least: int | None = None
    limits: tuple[Limit, ...] = ()
    on_oxygen: bool = False
    who: Who | None = None

    def met(self, facts: Facts) -> bool:
        """Whether the row applies. Known parts of an incomplete NEWS2 count (upward only)."""
        if self.finding is not None and self.finding not in facts.labels:
            return False
        if self.news2_at_least is not None and (
            facts.score is None or facts.score.known_total < self.news2_at_least
        ):
            return False
        if self.on_oxygen and not facts.vitals.on_oxygen:
            return False
        if self.who is not None and (self.who is Who.CHILD) != facts.child:
            return False
        return all(limit.met(facts.vitals) for limit in self.limits)


@dataclass(frozen=True)
class AcuityRule:
    """A finding that asks for a level."""

    id: str
    when: When
    acuity: int
    source: str
    text: dict[Language, str]


@dataclass(frozen=True)
class NeedRule:
    """What asks for a capability of the emergency room."""

    when: When
    capability: Capability
    strength: Strength
    source: str
    text: dict[Language, str]


@dataclass(frozen=True)
class About:
    """Where a rule file comes from; reviewed_by is empty while no clinician has signed it off."""

    version: str
    source: str
    reviewed_by: str
    reviewed_on: str

    def as_json(self) -> dict[str, Any]:
        """As it is stored beside each triage."""
        return dict(vars(self))


@dataclass(frozen=True)
class Rules:
    """A checked rule file."""

    about: About
    acuity: tuple[AcuityRule, ...]
    need: tuple[NeedRule, ...]


@cache
def load(path: Path | None = None) -> Rules:
    """The rules of a file, or the shipped ones; BadSetting names the file, row and field."""
    if path is None:
        return parse((resources.files("dispatch") / SHIPPED).read_bytes(), SHIPPED)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadSetting(f"{path}: larger than {MAX_BYTES} bytes; this is no rule file")
        return parse(path.read_bytes(), str(path))
    except OSError as error:
        raise BadSetting(f"{path}: cannot be read: {error.strerror or error}") from error


def parse(text: bytes, name: str) -> Rules:
    """The rules in the text of a file; `name` is what errors call it."""
    try:
        document = tomllib.loads(text.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadSetting(f"{name}: is no TOML in UTF-8: {error}") from error
    top = _Row(name, document)
    about = top.table("about")
    known = FINDINGS | frozenset(about.words("findings"))
    found = Rules(
        about=_about(about),
        acuity=tuple(_acuity(row, known) for row in top.rows("acuity")),
        need=tuple(_need(row, known) for row in top.rows("need")),
    )
    top.done()
    seen: set[str] = set()
    for rule in found.acuity:
        if rule.id in seen:
            raise BadSetting(f"{name}: [[acuity]] id {rule.id!r} stands twice")
        seen.add(rule.id)
    return found


class _Row:
    """One table of the file: hands out its fields and knows where it stands."""

    def __init__(self, where: str, fields: Mapping[str, Any]) -> None:
        self.where = where
        self._left = dict(fields)

    def wrong(self, field: str, why: str) -> BadSetting:
        return BadSetting(f"{self.where}: {field}: {why}")

    def has(self, field: str) -> bool:
        return field in self._left

    def take(self, field: str) -> Any:
        return self._left.pop(field, None)

    def text(self, field: str, longest: int = 300, *, empty: bool = False) -> str:
        value = self.take(field)
        if not isinstance(value, str) or (not value.strip() and not empty) or len(value) > longest:
            raise self.wrong(field, f"a text of 1 to {longest} characters is needed")
        return value.strip()

    def words(self, field: str) -> list[str]:
        value = self.take(field) or []
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            raise self.wrong(field, "a list of labels is needed")
        return [normal(word) for word in value]

    def number(self, field: str, low: float, high: float) -> float | None:
        value = self.take(field)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(field, f"{value!r} is no number")
        if not low <= value <= high:  # also catches NaN
            raise self.wrong(field, f"{value} is outside {low:g} to {high:g}")
        return value

    def whole(self, field: str, low: int, high: int) -> int | None:
        value = self.number(field, low, high)
        if value is not None and not isinstance(value, int):
            raise self.wrong(field, f"{value} is no whole number")
        return value

    def one_of(self, field: str, kind: type[StrEnum]) -> Any:
        value = self.take(field)
        try:
            return kind(value)
        except ValueError:
            known = ", ".join(kind)
            raise self.wrong(field, f"{value!r} is none of: {known}") from None

    def table(self, field: str) -> _Row:
        value = self.take(field)
        if not isinstance(value, dict):
            raise self.wrong(field, f"the table [{field}] is missing")
        return _Row(f"{self.where}: [{field}]", value)

    def rows(self, field: str) -> Iterator[_Row]:
        value = self.take(field)
        if not isinstance(value, list) or not value:
            raise self.wrong(field, f"at least one table [[{field}]] is needed")
        for number, row in enumerate(value, start=1):
            where = f"{self.where}: [[{field}]] row {number}"
            if not isinstance(row, dict):
                raise BadSetting(f"{where}: is no table")
            yield _Row(f"{where} ({row['id']})" if isinstance(row.get("id"), str) else where, row)

    def done(self) -> None:
        if self._left:
            name = sorted(self._left)[0]
            raise self.wrong(name, "there is no such field")


def normal(label: str) -> str:
    """A label as rules and networks are compared: "Pleural_Thickening" is "pleural_thickening"."""
    return label.strip().casefold().replace(" ", "_")


def _about(row: _Row) -> About:
    about = About(
        version=row.text("version", 40),
        source=row.text("source"),
        reviewed_by=row.text("reviewed_by", 120, empty=True),
        reviewed_on=row.text("reviewed_on", 10, empty=True),
    )
    row.done()
    if bool(about.reviewed_by) != bool(about.reviewed_on):
        raise row.wrong("reviewed_on", "who reviewed and when belong together")
    try:
        if about.reviewed_on:
            date.fromisoformat(about.reviewed_on)
    except ValueError:
        raise row.wrong(
            "reviewed_on", f"{about.reviewed_on!r} is no date like 2026-11-24"
        ) from None
    return about


def _acuity(row: _Row, known: frozenset[str]) -> AcuityRule:
    id_ = row.text("id", 40)
    if not re.fullmatch(r"[a-z][a-z0-9_]*", id_):
        raise row.wrong("id", "small letters, digits and underscores only")
    when = _when(row, known)
    if when.finding is None:
        raise row.wrong("finding", "is missing; vital signs alone are judged by NEWS2")
    acuity = row.whole("acuity", 1, 5)
    if acuity is None:
        raise row.wrong("acuity", "is missing: a level from 1 (worst) to 5")
    placeholders = {"acuity"}
    if when.limits:
        placeholders.add("value")
    if when.news2_at_least is not None:
        placeholders.add("known_total")
    rule = AcuityRule(id_, when, acuity, row.text("source"), _texts(row, placeholders))
    row.done()
    return rule


def _need(row: _Row, known: frozenset[str]) -> NeedRule:
    when = _when(row, known)
    if when == When():
        raise row.wrong("finding", "the row has no condition, so every case would need it")
    rule = NeedRule(
        when=when,
        capability=row.one_of("capability", Capability),
        strength=row.one_of("strength", Strength),
        source=row.text("source"),
        text=_texts(row, frozenset()),
    )
    row.done()
    return rule


def _when(row: _Row, known: frozenset[str]) -> When:
    finding = row.take("finding")
    if finding is not None:
        if not isinstance(finding, str) or normal(finding) not in known:
            raise row.wrong(
                "finding",
                f"{finding!r} is none of {', '.join(sorted(known))}; labels of another network "
                "are listed in about.findings",
            )
        finding = normal(finding)
    limits = []
    for vital, (low, high) in news2.PLAUSIBLE_RANGES.items():
        at_least = row.number(f"{vital}_at_least", low, high)
        at_most = row.number(f"{vital}_at_most", low, high)
        if at_least is None and at_most is None:
            continue
        limit = Limit(
            vital,
            at_least=-math.inf if at_least is None else at_least,
            at_most=math.inf if at_most is None else at_most,
        )
        if limit.at_least > limit.at_most:
            raise row.wrong(f"{vital}_at_least", "is above at_most, so the row never applies")
        limits.append(limit)
    on_oxygen = row.take("on_oxygen")
    if on_oxygen is not None and on_oxygen is not True:
        raise row.wrong("on_oxygen", "only true can be asked for")
    return When(
        finding=finding,
        news2_at_least=row.whole("news2_at_least", 0, 20),
        limits=tuple(limits),
        on_oxygen=on_oxygen is True,
        who=row.one_of("who", Who) if row.has("who") else None,
    )


def _texts(row: _Row, allowed: Set[str]) -> dict[Language, str]:
    texts: dict[Language, str] = {}
    languages: tuple[Language, ...] = get_args(Language)
    for language in languages:
        text = row.text(language)
        try:
            parts = list(string.Formatter().parse(text))
        except ValueError as error:
            raise row.wrong(language, f"{error}") from error
        for _, name, spec, conversion in parts:
            if name is None:
                continue
            if name not in allowed or spec or conversion:
                known = ", ".join(f"{{{n}}}" for n in sorted(allowed)) or "no placeholder"
                raise row.wrong(language, f"{{{name}}} is unknown; this text may use: {known}")
        texts[language] = text
    return texts
