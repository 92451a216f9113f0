"""`goldentime replay`: compare ways of choosing whom to ask, in a simulated city.

Arguments in, table and page out; the work is figures.py's.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from broker.errors import Invalid
from dispatch.replay import figures, report, scenario


def replay(arguments: list[str]) -> int:
    """`goldentime replay`: compare ways of choosing emergency rooms in a simulated city."""
    parser = argparse.ArgumentParser(
        prog="goldentime replay",
        description="Replay ambulances and emergency rooms under several policies.",
        epilog="example: goldentime replay quiet rural --seeds 6 --jobs 2 --page replay.html",
    )
    parser.add_argument(
        "scenarios",
        nargs="*",
        help=f"names or YAML files; all shipped ones when none is named: "
        f"{', '.join(scenario.names())}",
    )
    parser.add_argument("--seeds", type=int, default=6, help="runs reported (default %(default)s)")
    parser.add_argument("--learn", type=int, default=6, help="runs learnt on (default %(default)s)")
    parser.add_argument("--days", type=float, help="days of each run instead of the scenario's")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default %(default)s)")
    parser.add_argument("--page", type=Path, help="write one HTML page here")
    options = parser.parse_args(arguments)
    if not 1 <= options.seeds < figures.LEARNING_SEED:
        raise Invalid(f"--seeds: say 1 to {figures.LEARNING_SEED - 1}")
    if options.learn < 0 or options.jobs < 1:
        raise Invalid("--learn and --jobs: no fewer than 0 and 1")
    results = []
    for name in options.scenarios or scenario.names():
        found = figures.replay(
            scenario.load(name) if options.days is None else scenario.load(name).of(options.days),
            range(1, 1 + options.seeds),
            range(figures.LEARNING_SEED, figures.LEARNING_SEED + options.learn),
            jobs=options.jobs,
            told=lambda line: print(f"\r{line}\033[K", end="", file=sys.stderr, flush=True),
        )
        print("\r\033[K", end="", file=sys.stderr)
        print(report.text(found), flush=True)
        results.append(found)
        if options.page is not None:  # after each: a long run that is broken off leaves a page
            options.page.write_text(report.page(results), "utf-8")
    return 0
