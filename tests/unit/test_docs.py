"""The documents agree with the code and with each other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from broker import lifecycle
from broker.lifecycle import CaseStatus, OfferStatus

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
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
