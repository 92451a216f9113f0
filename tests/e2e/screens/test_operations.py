"""Operations' page by hand: pause and resume, take an alarm, replay a dead letter, and the cases
behind every figure."""

from __future__ import annotations

from urllib.parse import quote
from uuid import UUID

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import select, update

from broker import database
from broker.lifecycle import OfferStatus, ReadingKind, ReadingStatus
from broker.record import Record
from broker.tables import EmergencyRoom, Offer, Reading
from tests.e2e.conftest import Installation
from tests.e2e.screens.rig import Screens, cancel, read_by_ai, submit, wait_for


@pytest.fixture
def page(screens: Screens) -> Page:
    """The board, with its first figures."""
    context = screens.context("operations")
    opened = context.new_page()
    opened.goto("/operations")
    opened.locator("#verdict .verdict").wait_for()
    return opened


def give_up(installation: Installation, case_id: str) -> None:
    """As if one network had died of this film three times."""
    record = Record(installation.settings)

    def unit(session: database.Session) -> None:
        session.execute(
            update(Reading)
            .where(Reading.case_id == UUID(case_id), Reading.kind == ReadingKind.CLASSIFY)
            .values(
                status=ReadingStatus.FAILED,
                attempt=3,
                error_code="worker_lost",
                finished_at=database.now(session),
            )
        )

    record.again(unit)
    record.close()


def nobody_answered(installation: Installation, case_id: str) -> str:
    """As if one ER had let its offer run out; the region that it lies in."""
    record = Record(installation.settings)

    def unit(session: database.Session) -> str:
        offer, region = session.execute(
            select(Offer.id, EmergencyRoom.region)
            .join(EmergencyRoom)
            .where(Offer.case_id == UUID(case_id))
            .limit(1)
        ).one()
        session.execute(update(Offer).where(Offer.id == offer).values(status=OfferStatus.EXPIRED))
        return str(region)

    region = record.again(unit)
    record.close()
    return region


def test_a_queue_is_paused_with_a_reason_and_resumed(
    page: Page, screens: Screens, installation: Installation
) -> None:
    row = page.locator('tr[data-key="detect"]')
    row.get_by_role("button", name="Pause").click()
    panel = page.locator("#panel")
    panel.get_by_role("button", name="Pause").click()
    expect(panel).to_be_visible()  # without a reason nothing is paused
    panel.locator("[name=reason]").fill("new weights")
    panel.locator("[name=minutes]").fill("5")
    panel.get_by_role("button", name="Pause").click()
    expect(row.locator(".badge")).to_be_visible()
    expect(row).to_contain_text("new weights")
    expect(row).to_contain_text("Demo night operator")
    reasons = page.locator("#verdict .reasons")
    expect(reasons).to_contain_text("Paused: detect")
    expect(reasons).to_contain_text("new weights")
    row.get_by_role("button", name="Resume").click()
    expect(row.locator(".badge")).to_have_count(0)
    expect(reasons.filter(has_text="Paused")).to_have_count(0)


def test_a_dead_letter_alarms_is_taken_and_replayed(
    page: Page, screens: Screens, installation: Installation
) -> None:
    case_id = submit(installation)
    read_by_ai(installation, case_id)
    give_up(installation, case_id)
    letter = page.locator("#dead-letters tbody tr", has_text=case_id[:8])
    expect(letter).to_contain_text("worker_lost")
    expect(page.locator("#verdict .reasons")).to_contain_text("Readings gave up: classify")
    alarm = page.locator("li.alarm", has_text="Readings gave up")
    alarm.get_by_role("button", name="I take it").click()
    expect(alarm).to_contain_text("Demo night operator")
    expect(alarm.get_by_role("button", name="I take it")).to_have_count(0)
    letter.get_by_role("button", name="What would happen?").click()  # changes nothing
    expect(letter).to_be_visible()
    letter.get_by_role("button", name="Try again").click()
    expect(letter).to_have_count(0)
    read_by_ai(installation, case_id)
    expect(alarm).to_have_count(0)  # by itself, once the condition is over
    cancel(installation, case_id)


def test_every_figure_leads_to_its_cases_and_each_case_to_its_timeline(
    page: Page, screens: Screens, installation: Installation
) -> None:
    case_id = submit(installation)
    read_by_ai(installation, case_id)
    short = case_id[:8]
    expect(page.locator("#operations")).to_contain_text(short)
    panel = page.locator("#panel")

    def behind(query: str) -> None:
        page.locator(f'[data-do=drill][data-query^="{query}"]').first.click()
        expect(panel).to_contain_text(short)
        page.keyboard.press("Escape")
        expect(panel).to_be_hidden()

    for figure in (
        *("cases?status=offering", "behind?flow=received", "behind?flow=readings"),
        *("behind?stage=first_offer", "behind?stage=read_classify"),
    ):
        behind(figure)
    behind(f"behind?region={quote(nobody_answered(installation, case_id))}")
    page.locator("#find [name=id]").fill(short)
    page.locator("#find button").click()
    panel.get_by_role("button", name=short).click()
    expect(panel.locator(".timeline")).to_contain_text("case.received")
    expect(panel.locator(".timeline")).to_contain_text("reading.done")
    page.keyboard.press("Escape")
    page.locator("#verdict [data-do=timeline]").click()
    expect(panel.locator(".timeline")).to_be_visible()
    page.keyboard.press("Escape")
    cancel(installation, case_id)
    wait_for(lambda: short not in page.locator("#verdict").inner_text(), "end")
