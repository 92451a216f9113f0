"""The emergency room's page: answers, the viewer, many requests, and what nobody may believe."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Route, expect

from tests.e2e.conftest import Installation
from tests.e2e.screens.rig import (
    Screens,
    asked,
    axe,
    cancel,
    read_by_ai,
    submit,
    until,
)

INK = """() => {
  const canvas = document.querySelector('.viewer canvas');
  if (!canvas || !canvas.width) return null;
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  let sum = 0;
  for (let i = 0; i < data.length; i += 4) sum += data[i];
  return sum / (data.length / 4);
}"""


def test_a_page_asks_for_nothing_twice(screens: Screens, installation: Installation) -> None:
    """What was asked early is what the script gets: a second look would be a second audit row."""
    case_id = submit(installation)
    read_by_ai(installation, case_id)
    page = screens.context(asked(installation, case_id)[0]).new_page()
    seen: list[str] = []
    page.on("request", lambda request: seen.append(request.url))
    page.goto("/er")
    expect(page.locator("main")).to_contain_text(case_id[:8])
    once = [url for url in seen if "/offers?open=true" in url or url.endswith("/emergency-rooms")]
    assert len(once) == len(set(once)) == 2, once
    scripts = [url for url in seen if url.endswith(".js")]
    assert len(scripts) == len(set(scripts))
    cancel(installation, case_id)


def test_the_film_waits_for_nothing_that_is_not_needed(
    screens: Screens, installation: Installation
) -> None:
    """What has ended, the map and its library come after the film."""
    case_id = submit(installation)
    page = screens.context(asked(installation, case_id)[0]).new_page()
    seen: list[str] = []
    film: list[Route] = []
    page.on("request", lambda request: seen.append(request.url))
    page.route("**/offers?open=false*", lambda route: None)  # it never comes
    page.route("**/image/preview*", lambda route: film.append(route))
    page.goto("/er")
    page.locator("[data-decision=accept]:not([aria-disabled])").wait_for()
    page.wait_for_timeout(500)
    assert len(film) == 1
    assert not [url for url in seen if "/vendor/" in url]
    film[0].continue_()
    expect(page.locator(".map .leaflet-marker-icon").first).to_be_visible()
    cancel(installation, case_id)


def test_two_screens_of_one_emergency_room_say_the_same(
    screens: Screens, installation: Installation
) -> None:
    """What one desk answers is no open question on the other, which would go on ringing."""
    case_id = submit(installation)
    who = asked(installation, case_id)[0]
    one, other = (screens.open(who, "/er") for _ in range(2))
    card = one.locator(f'article[data-id="{case_id}"]')
    card.get_by_role("button", name="15 min").click()
    expect(other.locator(f'article[data-id="{case_id}"]')).to_contain_text("yes, in 15 min")
    card.locator(".cannot > summary").click()
    card.locator(".reasons button").first.click()
    expect(other.locator("#waiting .row")).to_have_count(0)
    expect(other.locator(f'article[data-id="{case_id}"] .answers')).to_have_count(0)
    cancel(installation, case_id)


def test_the_whole_film_opens_in_the_viewer(
    screens: Screens, installation: Installation, pictures: Path | None
) -> None:
    case_id = submit(installation)
    read_by_ai(installation, case_id)
    er = screens.open(asked(installation, case_id)[0], "/er")
    er.get_by_role("button", name="Pneumonia").click()  # a heatmap, over the quick picture
    expect(er.locator(".stage img.heat")).to_be_visible()
    expect(er.locator(".film")).to_contain_text("no outline of a lesion")
    with er.expect_response("**/image/dicom*") as answer:
        er.get_by_role("button", name="Whole film").click()
    assert answer.value.status == 200
    viewer = er.locator("dialog.viewer")
    expect(viewer).to_have_attribute("data-loaded", "true")
    expect(viewer).to_contain_text("not for diagnosis")
    expect(viewer.locator(".viewer-state")).to_contain_text("128")
    until(er, f"({INK})() > 1")
    bright = er.evaluate(INK)
    viewer.get_by_role("button", name="Invert").click()
    until(er, f"Math.abs(({INK})() - {bright}) > 5")
    assert axe(er) == []
    if pictures:
        er.screenshot(path=pictures / "emergency-room-viewer.png")
    box = viewer.locator(".viewer-stage").bounding_box()
    assert box
    er.mouse.move(box["x"] + 300, box["y"] + 300)
    er.mouse.down()
    er.mouse.move(box["x"] + 400, box["y"] + 360, steps=4)
    er.mouse.up()
    expect(viewer.locator(".viewer-state")).not_to_contain_text("Centre 128 · width 256")
    er.keyboard.press("Escape")
    expect(viewer).to_have_count(0)
    cancel(installation, case_id)
