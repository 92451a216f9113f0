"""The documents agree with the code and with each other."""

from __future__ import annotations

import ast
import configparser
import dataclasses
import inspect
import re
from itertools import pairwise
from pathlib import Path

import pytest

from broker import lifecycle, settings
from broker.lifecycle import AlarmCode, CaseStatus, OfferStatus
from broker.tuning import TUNABLES
from dispatch.control_log import CaseAlarm

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
NO_SETTINGS = {"GOLDENTIME_CXR", "GOLDENTIME_POSTGRES_PASSWORD", "GOLDENTIME_REDIS_PASSWORD"}
"""Of the tests and the training; of compose, which makes addresses of them."""
TESTS = {
    name
    for file in ROOT.glob("tests/**/*.py")
    for name in (file.stem, *re.findall(r"^ *def (test_\w+)", file.read_text("utf-8"), re.M))
}
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", "utf-8")
COMMANDS = re.findall(r"^(\w+) =", SETUP["options.entry_points"]["goldentime.commands"], re.M)
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
METRICS = re.compile(r"^\| `(goldentime_\w+)`", re.M)
PAGED_OTHERWISE = {
    *("queue_stuck", "canary_lost", "process_silent", "cases_overdue"),
    *("redis_silent", "dead_letters"),
}
"""By rules of their own, from the figures: a pager must ring when nobody writes alarms, too."""
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text("utf-8")


def table(header: str) -> list[list[str]]:
    """The cells of the table in the architecture page whose header line begins so."""
    lines = ARCHITECTURE.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(header))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_the_states_of_a_case_are_those_of_the_code() -> None:
    told = {
        state: {word for word in after.split(", ") if word != "–"}
        for state, _, after in table("| case | means")
    }
    assert told == {
        status.value: {after.value for after in lifecycle.CASE_TRANSITIONS[status]}
        for status in CaseStatus
    }


def test_the_states_of_an_offer_are_those_of_the_code() -> None:
    assert [row[0] for row in table("| offer | FHIR")] == [status.value for status in OfferStatus]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page: Path) -> None:
    """Links inside the repository, and files of ours in backticks."""
    text = page.read_text("utf-8")
    links = re.findall(r"\]\((?!https?:|mailto:|#)([^)#]+)", text)
    files = re.findall(
        r"`((?:broker|dispatch|docs|migrations|models|tests|web|workers)/[\w/.-]+\.\w+)`", text
    )
    missing = [link for link in links if not (page.parent / link).exists()]
    missing += [name for name in files if not (ROOT / name).exists()]
    assert missing == []


def test_every_decision_is_numbered_and_answers_a_question() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        text = page.read_text("utf-8")
        assert text.startswith(f"# {int(page.name[:4])}. "), page.name
        assert {"**Question.**", "**Decision.**", "**Why.**"} <= set(
            re.findall(r"\*\*\w+\.\*\*", text)
        ), page.name


def test_an_operator_finds_every_alarm() -> None:
    """When it rings, where to look, what to press: docs/operations.md."""
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    raised, _, at_night = page.partition("## At night")
    assert re.findall(r"^\| ([a-z_]+) \| ", raised, re.M)[1:] == list(AlarmCode)
    pager = (ROOT / "docs" / "alerts.yml").read_text("utf-8")
    assert set(re.findall(r"goldentime_\w+?(?=_bucket|\b)", pager)) <= set(METRICS.findall(page))
    assert [code for code in AlarmCode if code not in pager and code not in PAGED_OTHERWISE] == []
    codes = re.findall(r'^\| "([^|]+)" \((\w+)\) \|', at_night, re.M)
    assert [code for _, code in codes[: len(AlarmCode)]] == list(AlarmCode)
    assert {code for _, code in codes[len(AlarmCode) :]} == set(CaseAlarm)
    catalogue = (ROOT / "web/translations/ko/LC_MESSAGES/messages.po").read_text("utf-8")
    words = dict(re.findall(r'^msgctxt "alarm\.(\w+)"\nmsgid "(.+)"$', catalogue, re.M))
    assert [(said, words[code]) for said, code in codes if not words[code].startswith(said)] == []


def test_settings_are_listed_as_the_code_has_them() -> None:
    """docs/settings.md: each one, what it is as shipped and means, its range at run time."""
    assert (ROOT / "docs" / "settings.md").read_text("utf-8").splitlines()[-len(rows()) :] == rows()


def rows() -> list[str]:
    """The table of settings, from the fields and the words below them; paste it when it changes."""
    tree = ast.parse(inspect.getsource(settings.Settings)).body[0]
    assert isinstance(tree, ast.ClassDef)
    means = {
        field.target.id: inspect.cleandoc(said.value.value).replace("\n", " ")
        for field, said in pairwise(tree.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(said, ast.Expr) and isinstance(said.value, ast.Constant)
        if isinstance(said.value.value, str)
    }
    found = []
    for field in dataclasses.fields(settings.Settings):
        shipped = {"data_dir": "`var`", "node": "the host's name"}.get(field.name)
        if shipped is None:
            value = getattr(settings.Settings(), field.name)
            text = f"{value:g}" if isinstance(value, float) else settings.as_text(value)
            shipped = f"`{text}`" if text else ""
        tunable = TUNABLES.get(field.name)
        span = f"{tunable.low:g} to {tunable.high:g}" if tunable else ""
        name = f"`{settings.PREFIX}{field.name.upper()}`"
        found.append(f"| {name} | {shipped} | {means[field.name]} | {span} |")
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_tells_to_run_or_set_is_there(page: Path) -> None:
    """Tests by name, commands, targets of make, modules that are run, settings."""
    text = page.read_text("utf-8")
    fields = dataclasses.fields(settings.Settings)
    known = NO_SETTINGS | {settings.PREFIX + field.name.upper() for field in fields}
    wrong = [
        name for name in re.findall(rf"\b{settings.PREFIX}[A-Z_]*[A-Z]", text) if name not in known
    ]
    for told, there in (
        (r"\b(test_\w+)", TESTS),
        (r"(?:`|bin/|^)goldentime ([a-z]+)", COMMANDS),
        (r"`make ([a-z-]+)", TARGETS),
    ):
        wrong += [name for name in re.findall(told, text, re.M) if name not in there]
    for module in re.findall(r"python -m ((?:broker|models|tests|web|workers)\.[\w.]*\w)", text):
        if not (ROOT / module.replace(".", "/")).with_suffix(".py").is_file():
            wrong.append(module)
    assert wrong == []
