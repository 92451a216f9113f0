"""The viewer's marks: where the film has them, to a pixel of the screen, whatever was done to it.

The film and what was found in it are made here: one bright rectangle, a box around it and a heatmap
of it. What is measured is what a person sees: screenshots of the stage, with and without marks.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Locator, Page, Route, expect

from dispatch.export.film import film_dicom
from dispatch.film import Deepened
from tests.e2e.conftest import Installation
from tests.e2e.screens.rig import (
    PHONE,
    Screens,
    asked,
    axe,
    cancel,
    read_by_ai,
    submit,
    too_wide,
    until,
    wait_for,
)
from tests.e2e.screens.test_belief import LINE
from web import demo

UPLOAD = (1800, 2400)
"""Pixels of the film as it came; what the viewer gets is smaller, and not by a whole number."""
SHOWN = (750, 1000)
PLACE = (720.0, 960.0, 1152.0, 1200.0)
"""x0, y0, x1, y1 of the rectangle in pixels of the upload: whole pixels of both."""
STROKE_PX = 3
LETTER_PX = 24
"""Longer than any stroke of the words at a box, which are of its colour."""
OFF_PX = 1.5
"""An edge lies between two pixels, on either side."""
YELLOW = (255, 212, 0)
NOTICED = """() => {
  const notices = document.getElementById("notices");
  new MutationObserver(() => {
    const box = notices.firstChild?.getBoundingClientRect();
    const top = box && document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
    window.seen ||= notices.contains(top);
  }).observe(notices, { childList: true });
}"""
"""A notice goes by itself, and a busy machine may look too late."""
Gray = NDArray[np.float64]
Edges = tuple[float, float, float, float]


@dataclass(frozen=True)
class Drawn:
    """A case whose film and findings are ours, and whom it was offered to."""

    case_id: str
    who: str


@pytest.fixture(scope="module")
def drawn(installation: Installation) -> Iterator[Drawn]:
    case_id = submit(installation)
    read_by_ai(installation, case_id)
    offer = installation.crew().call("GET", f"/cases/{case_id}")["offers"][0]
    room, settings = offer["emergency_room"], installation.settings
    token = installation.people.tokens.emergency_rooms[room["id"]]
    er = demo.Client(settings.public_url, settings.stream_url, token)
    er.call("POST", f"/offers/{offer['id']}/decision", json={"decision": "accept"})  # it stays
    yield Drawn(case_id, {name: who for who, name in installation.people.names}[room["name"]])
    cancel(installation, case_id)


def _rectangle(low: int, high: int, dtype: type) -> NDArray[Any]:
    width, height = SHOWN
    x0, y0, x1, y1 = (round(edge * width / UPLOAD[0]) for edge in PLACE)
    pixels = np.full((height, width), low, dtype)
    pixels[y0:y1, x0:x1] = high
    return pixels


def _film() -> bytes:
    levels = _rectangle(800, 3000, np.uint16)
    shape = Deepened(*SHOWN, bits=12, low=0, high=4095)
    return film_dicom(levels.astype("<u2").tobytes(), shape, uuid4(), uuid4())


def _heat() -> bytes:
    there = _rectangle(0, 255, np.uint8)
    none = np.zeros_like(there)
    out = io.BytesIO()
    Image.fromarray(np.dstack([there, none, none, there])).save(out, "PNG")
    return out.getvalue()


def _found(image: dict[str, Any]) -> None:
    """Write what was found into an image as the API tells it."""
    names = ("x0", "y0", "x1", "y1")
    around = dict(zip(names, PLACE, strict=True))
    aside = dict(zip(names, (100.0, 100.0, 400.0, 300.0), strict=True))
    box = {"above_threshold": True, "label": "Mass", "score": 0.71}
    image["width_px"], image["height_px"] = UPLOAD
    image["boxes"] = [{**box, **around}, {**box, **aside, "label": "Effusion"}]
    image["heatmaps"] = ["Pneumonia"]


def _serve(page: Page) -> None:
    def offers(route: Route) -> None:
        answer = route.fetch()
        body = answer.json()
        for offer in body if isinstance(body, list) else [body]:
            if (offer.get("case") or {}).get("image"):
                _found(offer["case"]["image"])
        route.fulfill(response=answer, json=body)

    page.route("**/api/v1/offers?*", offers)
    page.route("**/api/v1/offers/*", offers)
    film, heat = _film(), _heat()
    kind = "application/dicom"
    page.route("**/image/dicom*", lambda route: route.fulfill(body=film, content_type=kind))
    page.route(
        "**/image/heatmap*", lambda route: route.fulfill(body=heat, content_type="image/png")
    )


def _open(
    screens: Screens, drawn: Drawn, language: str = "en", **options: Any
) -> tuple[Page, Locator]:
    page = screens.context(drawn.who, language=language, **options).new_page()
    page.add_init_script(path=LINE)
    _serve(page)
    page.goto("/er")
    page.locator("#connection[data-state=live]").wait_for()
    card = page.locator(f'article[data-id="{drawn.case_id}"]')
    if not card.is_visible():
        page.locator(f'.row-button[data-id="{drawn.case_id}"]').click()
    card.locator('[data-do="fullFilm"]').click()
    viewer = page.locator("dialog.viewer")
    expect(viewer).to_have_attribute("data-loaded", "true")
    return page, viewer


# --- measuring ------------------------------------------------------------------------------------


def _seen(viewer: Locator) -> NDArray[Any]:
    picture = viewer.locator(".viewer-stage").screenshot(scale="css")
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(float)


def _box_lines(seen: NDArray[Any]) -> Edges:
    """The middle of each of the four yellow lines, in pixels of the stage."""
    near = np.abs(seen - YELLOW).sum(axis=2) < 120
    edges = []
    for axis in (0, 1):
        run = np.lib.stride_tricks.sliding_window_view(near, LETTER_PX, axis=axis).all(axis=-1)
        lines = np.flatnonzero(run.any(axis=axis))
        first, last = lines[lines < lines.mean()], lines[lines > lines.mean()]
        assert max(len(first), len(last)) <= STROKE_PX + 1, "not the four lines of one box"
        edges.append((first.mean() + 0.5, last.mean() + 0.5))
    (x0, x1), (y0, y1) = edges
    return x0, y0, x1, y1


def _edges_of(gray: Gray, middle: tuple[int, int]) -> Edges:
    """Where the even patch around a point ends."""
    x, y = middle
    inside = gray[y, x]
    found = []
    for line in (gray[y, x::-1], gray[y::-1, x], gray[y, x:], gray[y:, x]):
        other = np.flatnonzero(np.abs(line - inside) > 15)
        assert len(other), "the patch has no end on this screen"
        found.append(int(other[0]))
    left, up, right, down = found
    return x - left + 1, y - up + 1, x + right, y + down


def _measure(viewer: Locator) -> tuple[Edges, Edges]:
    """The box's lines, and the edges of what it was drawn around, without it."""
    box, stage = viewer.get_by_role("button", name="Mass"), viewer.locator(".viewer-stage")
    before = None
    while before != (before := stage.bounding_box()):  # a line of words came or went meanwhile
        with_box = _seen(viewer)
        box.click()
        expect(viewer.locator(".viewer-marks rect")).to_have_count(0)
        bare = _seen(viewer).mean(axis=2)
        box.click()
        expect(viewer.locator(".viewer-marks rect")).to_have_count(1)
    x0, y0, x1, y1 = lines = _box_lines(with_box)
    return lines, _edges_of(bare, (round((x0 + x1) / 2), round((y0 + y1) / 2)))


def _drag(page: Page, viewer: Locator, by: tuple[int, int], *, fingers: int = 0) -> None:
    """From the stage's middle, by mouse or by so many fingers (two go apart)."""
    box = viewer.locator(".viewer-stage").bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    if not fingers:
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + by[0], y + by[1], steps=5)
        page.mouse.up()
        return
    touch = page.context.new_cdp_session(page)

    def points(part: float) -> list[dict[str, float]]:
        ways = [(1, 1)] if fingers == 1 else [(1, 1), (-1, -1)]
        apart = 0 if fingers == 1 else 40
        return [
            {"x": x + sx * (apart + by[0] * part), "y": y + sy * (apart + by[1] * part)}
            for sx, sy in ways
        ]

    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": points(0)})
    for step in range(1, 6):
        move = {"type": "touchMove", "touchPoints": points(step / 5)}
        touch.send("Input.dispatchTouchEvent", move)
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_a_box_stays_on_its_spot(screens: Screens, drawn: Drawn, size: str) -> None:
    phone = size == "phone"
    page, viewer = _open(screens, drawn, **(PHONE if phone else {}))
    viewer.get_by_role("button", name="Effusion").click()  # one box is measured
    expect(viewer.locator(".viewer-marks rect")).to_have_count(1)
    fingers = 1 if phone else 0
    turned: Any = {"width": 844, "height": 500} if phone else {"width": 1100, "height": 800}
    moves: dict[str, Callable[[], None]] = {
        "at first": lambda: None,
        "zoomed": lambda: _press(viewer, "Zoom in", "Zoom in"),
        "window": lambda: _drag(page, viewer, (-30, 25), fingers=fingers),
        "tool": lambda: _press(viewer, "Move and zoom"),
        "moved": lambda: _drag(page, viewer, (-37, 23), fingers=fingers),
        "inverted": lambda: _press(viewer, "Invert"),
        "turned": lambda: page.set_viewport_size(turned),
        "farther": lambda: _press(viewer, "Zoom out"),
        "reset": lambda: _press(viewer, "Reset"),
    }
    if phone:
        moves["pinched"] = lambda: _drag(page, viewer, (9, 9), fingers=2)
    places: dict[str, Edges] = {}
    for name, move in moves.items():
        move()
        page.wait_for_timeout(150)
        lines, edges = _measure(viewer)
        off = max(abs(a - b) for a, b in zip(lines, edges, strict=True))
        assert off <= OFF_PX, f"{name}: the box at {lines}, what it is around at {edges}"
        places[name] = edges
    changed = {"zoomed", "moved", "turned", "farther", "reset", *(["pinched"] if phone else [])}
    before = None
    for name, edges in places.items():  # else nothing was put to the test
        assert (edges != before) == (name in changed or before is None), f"{name}: {places}"
        before = edges


def _press(viewer: Locator, *names: str) -> None:
    for name in names:
        viewer.get_by_role("button", name=name).click()


def test_a_heatmap_lies_on_the_film(screens: Screens, drawn: Drawn) -> None:
    page, viewer = _open(screens, drawn)
    _press(viewer, "Mass")
    _press(viewer, "Effusion")
    with page.expect_response("**/image/heatmap*"):
        _press(viewer, "Pneumonia")
    expect(viewer.locator(".viewer-said")).to_contain_text("no outline of a lesion")
    for move in (lambda: None, lambda: _press(viewer, "Zoom in")):
        move()
        page.wait_for_timeout(300)
        red = _seen(viewer)
        _press(viewer, "Pneumonia")
        expect(viewer.locator(".viewer-marks image")).to_have_count(0)
        bare = _seen(viewer)
        x0, y0, x1, y1 = _extent((red[:, :, 0] > 200) & (red[:, :, 1] < 60))
        middle = (x0 + x1) // 2, (y0 + y1) // 2
        edges = _edges_of(bare.mean(axis=2), middle)
        assert max(abs(a - b) for a, b in zip((x0, y0, x1, y1), edges, strict=True)) <= OFF_PX + 1
        _press(viewer, "Pneumonia")


def _extent(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    ys, xs = np.nonzero(mask)
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


def test_zooming_keeps_the_middle(screens: Screens, drawn: Drawn) -> None:
    _, viewer = _open(screens, drawn)
    _press(viewer, "Effusion")
    at_first = _measure(viewer)[1]
    stage = viewer.locator(".viewer-stage").bounding_box()
    assert stage
    middle = (stage["width"] / 2, stage["height"] / 2) * 2
    _press(viewer, "Zoom in")
    wanted = [c + (edge - c) * 1.25 for edge, c in zip(at_first, middle, strict=True)]
    assert np.allclose(_measure(viewer)[1], wanted, atol=2 * OFF_PX)
    _press(viewer, "Zoom out")
    assert np.allclose(_measure(viewer)[1], at_first, atol=OFF_PX)


# --- switches, words, and what must not be covered ------------------------------------------------


@pytest.mark.parametrize(("size", "language"), [("desktop", "en"), ("phone", "ko")])
def test_marks_are_switched_one_by_one_and_say_what_they_are(
    screens: Screens, drawn: Drawn, size: str, language: str
) -> None:
    page, viewer = _open(screens, drawn, language, **(PHONE if size == "phone" else {}))
    rects = viewer.locator(".viewer-marks rect")
    switches = viewer.locator('[data-view="mark"]')
    expect(switches).to_have_count(3)
    expect(rects).to_have_count(2)
    page.keyboard.press("1")
    expect(rects).to_have_count(1)
    expect(switches.nth(0)).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("3")
    expect(viewer.locator(".viewer-marks image")).to_have_count(1)
    page.keyboard.press("b")  # a look at the bare film
    expect(viewer.locator(".viewer-marks > *")).to_have_count(0)
    page.keyboard.press("b")
    expect(rects).to_have_count(1)
    expect(viewer.locator(".viewer-marks image")).to_have_count(1)
    page.keyboard.press("b")
    switches.nth(0).click()  # wanted, so it is on, and the others are as they were
    expect(rects).to_have_count(2)

    stage = viewer.locator(".viewer-stage")
    expect(stage).to_contain_text("not for diagnosis")
    expect(stage).to_contain_text("진단에 사용할 수 없습니다")
    readings = [r["model"] for r in _image(page, drawn)["readings"]]
    assert len(readings) == 2
    for model in readings:
        expect(stage).to_contain_text(f"{model['name']} {model['version']}")
    assert axe(page) == []
    assert too_wide(page) <= 0
    page.keyboard.press("Escape")
    expect(viewer).to_have_count(0)
    expect(page.locator(".film .stage rect")).to_have_count(2)  # as they were left
    expect(page.locator(".film .stage .heat")).to_have_count(1)


def _image(page: Page, drawn: Drawn) -> dict[str, Any]:
    offers = page.request.get("/api/v1/offers?open=true&cases=true").json()
    image: dict[str, Any] = next(o for o in offers if o["case_id"] == drawn.case_id)["case"][
        "image"
    ]
    return image


def test_letters_do_nothing_when_they_are_switched_off(screens: Screens, drawn: Drawn) -> None:
    page, viewer = _open(screens, drawn)
    page.evaluate("localStorage.setItem('goldentime.keys_off', '1')")
    page.keyboard.press("1")
    page.keyboard.press("i")
    page.keyboard.press("b")
    page.wait_for_timeout(300)
    expect(viewer.locator(".viewer-marks rect")).to_have_count(2)
    expect(viewer.get_by_role("button", name="Invert")).to_have_attribute("aria-pressed", "false")


def test_the_viewer_hides_nothing_that_matters(
    screens: Screens, installation: Installation, drawn: Drawn
) -> None:
    screens.forgive("ERR_FAILED")
    page, viewer = _open(screens, drawn)
    expect(viewer.locator(".viewer-offer")).to_contain_text("Yours")
    page.evaluate(NOTICED)
    others: list[str] = []
    while drawn.who not in [who for other in others for who in asked(installation, other)]:
        assert len(others) < 10
        key = {"Idempotency-Key": f"viewer-{uuid4()}"}
        case = installation.crew().call("POST", "/cases", headers=key, json=demo.CASE)
        others.append(case["case_id"])
        wait_for(lambda: asked(installation, others[-1]), "offers")
    until(page, "window.seen")  # that there is a new request
    page.evaluate("line.frozen = true")
    page.route("**/inbox*", lambda route: route.abort())
    expect(viewer.locator("#lost")).to_contain_text("state unknown")
    expect(viewer.locator(".viewer-offer")).not_to_contain_text("Yours.")
    page.unroute("**/inbox*")
    page.evaluate("line.frozen = false")
    expect(viewer.locator("#lost")).to_be_hidden()
    page.keyboard.press("Escape")
    expect(page.locator("body > #banner > #lost, body > #banner > #notices")).to_have_count(2)
    for other in others:
        cancel(installation, other)


def test_a_film_that_is_no_business_of_theirs_any_more_is_closed(
    screens: Screens, installation: Installation
) -> None:
    case_id = submit(installation)
    page, viewer = _open(screens, Drawn(case_id, asked(installation, case_id)[0]))
    expect(viewer.locator(".viewer-offer .countdown")).to_be_visible()
    cancel(installation, case_id)
    expect(viewer).to_have_count(0)
    expect(page.locator(f"article[data-id='{case_id}'] .film")).to_have_count(0)
