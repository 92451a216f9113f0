"""`goldentime beds`: free beds and capabilities of emergency rooms from a file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from broker import health, settings as settings_
from broker.errors import GoldentimeError
from broker.lifecycle import Role
from dispatch import beds_csv
from dispatch.access import Actor
from dispatch.rules import Capability

EXAMPLE = f"""\
example:
  goldentime beds import beds.csv

beds.csv:
  emergency_room,beds_available,beds_at,capabilities
  Quiet Juniper Hospital,4,2026-11-24T10:30:00+09:00,ct;ventilator
  Green Harbour Hospital,-2,,

emergency_room is the name (English or Korean) or the id in the bed feed. Negative beds mean
patients over capacity. beds_at left out means now; an empty cell leaves what is known. Capabilities
are separated by ";": {", ".join(Capability)}.
A file with a fault is not imported at all; every fault is told with its line and column."""


def beds(argv: list[str]) -> int:
    """`goldentime beds`: free beds and capabilities from a CSV file, all of it or nothing."""
    parser = argparse.ArgumentParser(
        prog="goldentime beds",
        description="Free beds and capabilities of emergency rooms, for regions without a feed.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kinds = parser.add_subparsers(dest="kind", required=True)
    import_ = kinds.add_parser(
        "import",
        help="write the figures of a CSV file",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    import_.add_argument("file", type=Path)
    options = parser.parse_args(argv)
    try:
        rows = beds_csv.read(options.file.read_bytes())
        actor = Actor(Role.ADMIN, "command:beds")
        with health.opened(settings_.from_env()) as record:
            changed, older = record.again(lambda s: beds_csv.write(s, actor, rows))
    except beds_csv.BadFile as error:
        for fault in error.faults:
            print(f"{options.file}: {fault}", file=sys.stderr)
        print("goldentime beds: nothing was imported", file=sys.stderr)
        return 1
    except GoldentimeError as error:
        print(f"goldentime beds: {error.told}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"goldentime beds: {options.file}: {error.strerror}", file=sys.stderr)
        return 1
    print(f"{changed} emergency rooms" + (f"; {older} had a newer figure" if older else ""))
    return 0
