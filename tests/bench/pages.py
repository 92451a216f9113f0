"""How long an ER looks at nothing: its case page on a slow processor, and on a phone.

Run as `python -m tests.bench.pages`. A real installation on SQLite, Debian's Chromium; the browser
itself slows the CPU down four times or narrows the line (CDP). Largest contentful paint is the
browser's own figure; "answerable" is the moment at which the accept button can be pressed, "film"
that at which the quick picture has come whole. Every load is by itself: `cold` with an empty cache,
`warm` with what the load before left.

Other work on the machine stretches all of these. What it does not stretch is the CPU time that the
page's main thread has used until the film was painted: two versions are compared by that (`cpu`).
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from broker.settings import Settings
from tests.e2e.conftest import CHROMIUM, Installation
from tests.e2e.screens.rig import PHONE, SIZES, asked, cancel, read_by_ai, submit
from web import cli, supervised

CPU_SLOWER = 4
BITS_PER_S = 1_600_000
ROUND_TRIP_MS = 150
WATCH = """
  window.seen = { lcp: 0, element: "" };
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      const tag = entry.element ? `${entry.element.tagName} ${entry.element.className}` : "?";
      Object.assign(window.seen, { lcp: entry.startTime, element: tag });
    }
  }).observe({ type: "largest-contentful-paint", buffered: true });
  const look = () => {
    const accept = document.querySelector("[data-decision=accept]:not([aria-disabled])");
    const film = document.querySelector(".stage img");
    if (accept) window.seen.answerable ??= performance.now();
    if (film?.complete && film.naturalWidth) window.seen.film ??= performance.now();
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
"""
DONE = "() => window.seen.film && window.seen.answerable ? window.seen : null"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.pages", description=__doc__)
    parser.add_argument("--loads", type=int, default=7, help="loads of each kind")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gt-pages-") as folder:
        settings = supervised.settle(
            Settings(data_dir=Path(folder), min_free_bytes=1), first_port=8600
        )
        with supervised.running(settings) as supervisor, sync_playwright() as play:
            house = Installation(settings, supervisor, cli.prepare(settings), [])
            path = shutil.which("chromium") or shutil.which("chromium-browser")
            browser = play.chromium.launch(executable_path=path, args=CHROMIUM)
            desktop: dict[str, Any] = {"viewport": SIZES["desktop"]}
            for name, options_, network in (
                (f"desktop, CPU {CPU_SLOWER} x slower", desktop, False),
                ("phone, 1.6 Mbit/s, 150 ms", PHONE, True),
            ):
                for cache in ("cold", "warm"):
                    found = _loads(
                        browser, house, options_, options.loads, network=network, cache=cache
                    )
                    print(json.dumps({"page": name, "cache": cache, **found}), flush=True)
            for cache in ("cold", "warm"):
                used = [_cpu_ms(browser, house, desktop, cache) for _ in range(options.loads)]
                found = {"median_ms": statistics.median(used), "longest_ms": max(used)}
                print(json.dumps({"page": "desktop, cpu", "cache": cache, **found}), flush=True)
            browser.close()


def _loads(
    browser: Browser,
    house: Installation,
    options: dict[str, Any],
    loads: int,
    *,
    network: bool,
    cache: str,
) -> dict[str, Any]:
    seen = []
    for _ in range(loads):
        with _asked_page(browser, house, options, cache) as context:
            seen.append(_load(context, network=network, slow=not network))
    figures: dict[str, Any] = {"element": seen[-1]["element"]}
    for name in ("lcp", "answerable", "film"):
        values = [load[name] / 1000 for load in seen]
        figures[f"{name}_median_s"] = round(statistics.median(values), 2)
        figures[f"{name}_longest_s"] = round(max(values), 2)
    return figures


def _cpu_ms(browser: Browser, house: Installation, options: dict[str, Any], cache: str) -> int:
    """CPU milliseconds of the page's main thread from the start of a load to the film's paint."""
    with _asked_page(browser, house, options, cache) as context:
        page = context.new_page()
        browser.start_tracing(page=page, categories=["toplevel", "loading", "blink.user_timing"])
        page.goto("/er", wait_until="commit")
        _seen(page)
        events = json.loads(browser.stop_tracing())["traceEvents"]
    start = [e for e in events if e["name"] == "navigationStart" and "/er" in str(e["args"])][-1]
    paints = [e for e in events if e["name"] == "largestContentfulPaint::Candidate"]
    painted = max(e["ts"] for e in paints if e["pid"] == start["pid"])
    used, done = 0, start["ts"]
    for task in sorted((e for e in events if e["name"].endswith("RunTask")), key=lambda e: e["ts"]):
        of_page = all(task[name] == start[name] for name in ("pid", "tid"))
        if of_page and done <= task["ts"] < painted and "tdur" in task:  # those within it are in it
            used, done = used + task["tdur"], task["ts"] + task["dur"]
    return round(used / 1000)


@contextmanager
def _asked_page(
    browser: Browser, house: Installation, options: dict[str, Any], cache: str
) -> Iterator[BrowserContext]:
    """The browser of an ER on whose screen one case waits, for none waits for long."""
    case_id = submit(house)
    read_by_ai(house, case_id)
    context = _signed_in(browser, house, asked(house, case_id)[0], options)
    if cache == "warm":
        _load(context, network=False, slow=False)
    yield context
    context.close()
    cancel(house, case_id)


def _signed_in(
    browser: Browser, house: Installation, who: str, options: dict[str, Any]
) -> BrowserContext:
    context = browser.new_context(
        base_url=house.settings.public_url, locale="en-GB", reduced_motion="reduce", **options
    )
    context.add_init_script(WATCH)
    answer = context.request.post(
        "/api/v1/session", data={"name": who, "password": house.people.password}
    )
    assert answer.status == 201, answer.text()
    return context


def _load(context: BrowserContext, *, network: bool, slow: bool) -> dict[str, Any]:
    page: Page = context.new_page()
    cdp = context.new_cdp_session(page)
    if slow:
        cdp.send("Emulation.setCPUThrottlingRate", {"rate": CPU_SLOWER})
    if network:
        cdp.send("Network.enable")
        cdp.send(
            "Network.emulateNetworkConditions",
            {
                "offline": False,
                "latency": ROUND_TRIP_MS,
                "downloadThroughput": BITS_PER_S / 8,
                "uploadThroughput": BITS_PER_S / 8,
            },
        )
    page.goto("/er", wait_until="commit")
    found = _seen(page)
    page.close()
    return found


def _seen(page: Page) -> dict[str, Any]:
    """Wait for the whole page, and a little longer: a larger paint may follow."""
    for _ in range(600):
        if page.evaluate(DONE):
            page.wait_for_timeout(300)
            found: dict[str, Any] = page.evaluate("() => window.seen")
            return found
        page.wait_for_timeout(50)
    raise AssertionError("the page never came")


if __name__ == "__main__":
    main()
