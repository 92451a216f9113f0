"""The `goldentime` command: finds each room's commands by entry point and hands over.

Commands are named in setup.cfg, group `goldentime.commands`; each is a function that takes the
arguments after its name and returns an exit status. They are loaded by name at run time, so this
room imports no other. No command's own work may enter here.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import cast

from broker.errors import GoldentimeError

DISTRIBUTION = "goldentime"
GROUP = "goldentime.commands"
ROOMS = frozenset({"broker", "dispatch", "migrations", "models", "web", "workers"})

Command = Callable[[list[str]], int | None]

EXAMPLES = """\
examples:
  goldentime demo                     start everything on this machine and play one case
  goldentime demo --image chest.dcm   the same with your own PNG, JPEG or DICOM
  goldentime read chest.png --json    what the networks see in a film
  goldentime COMMAND --help           options and examples of one command"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns 0 for done, 1 for a failure that was told, 2 for a wrong call.

    argv: arguments without the program's name; None takes them from the process.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        print(_overview())
        return 0
    name, *rest = arguments
    if name in {"-V", "--version"}:
        print(f"{DISTRIBUTION} {metadata.version(DISTRIBUTION)}")
        return 0
    found = commands().get(name)
    if found is None:
        known = ", ".join(commands())
        return _complain(f"there is no command {name!r}; there are: {known}", status=2)
    return _run(found, rest)


def commands() -> dict[str, EntryPoint]:
    """Every installed command by name, in alphabetical order; none of them is loaded."""
    found = metadata.entry_points(group=GROUP)
    return {point.name: point for point in sorted(found, key=lambda point: point.name)}


def _run(point: EntryPoint, arguments: list[str]) -> int:
    try:
        command = cast(Command, point.load())
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in ROOMS:
            raise
        extra = "replay" if missing in {"simpy", "yaml"} else "training"
        return _complain(
            f"{point.name} needs the package {missing!r}, which this environment does not have; "
            f"it is in an extra: pip install 'goldentime[{extra}]'"
        )
    try:
        return command(arguments) or 0
    except GoldentimeError as error:
        return _complain(error.told)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (`| head`) has gone: nothing is left to say, also not at interpreter exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _overview() -> str:
    points = commands()
    width = max((len(name) for name in points), default=0)
    lines = [f"  {name:<{width}}  {_first_line(point)}" for name, point in points.items()]
    return "\n".join(
        [
            "usage: goldentime [--help] [--version] COMMAND ...",
            "",
            "One chest X-ray from an ambulance to three emergency rooms and back.",
            "Advice for trained staff in research and rehearsal; not a medical device.",
            "",
            "commands:",
            *lines,
            "",
            EXAMPLES,
        ]
    )


def _first_line(point: EntryPoint) -> str:
    """First sentence of a command's docstring, read from the file: listing must load no room."""
    spec = importlib.util.find_spec(point.module)
    if spec is None or spec.origin is None:
        return "(not installed)"
    for node in ast.parse(Path(spec.origin).read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == point.attr:
            first = (ast.get_docstring(node) or "").partition("\n")[0]
            return first.removeprefix(f"`goldentime {point.name}`: ")
    return ""


def _complain(message: str, status: int = 1) -> int:
    print(f"goldentime: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
