"""`goldentime health NAME`: does one part of an installation work? For supervisors and containers.

The doors answer over HTTP; every other process is judged by the heartbeat that its working loop
writes into the record.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text
from sqlalchemy.orm import Session

from broker import database, heartbeat, settings as settings_, watchdog
from broker.errors import GoldentimeError
from broker.migrate import config
from broker.record import Record
from broker.settings import Settings

DOORS = {
    "gateway": ("http://127.0.0.1:8000", "/readyz"),
    "stream": ("http://127.0.0.1:8001", "/healthz"),
}
LOOPS = ("relay", "classify", "detect", "dispatch", "upkeep")
OPTIONAL_LOOPS = ("bed_feed", "road_times")
"""Run only where they are configured."""
TIMEOUT_S = 5.0


class NoDatabase(GoldentimeError):
    """There is no database of this installation."""

    code = "no_database"


@contextmanager
def opened(settings: Settings, *, ready: bool = True) -> Iterator[Record]:
    """The record for a command, which makes no database where there is none; NoDatabase says so.

    ready: its tables, too, must be those of this version.
    """
    file = database.address(settings)
    try:
        missing = file.get_backend_name() == "sqlite" and not Path(file.database or "").is_file()
    except PermissionError as error:
        raise NoDatabase(f"{file.database}: {error.strerror}; run this as its owner") from error
    if missing:
        raise NoDatabase(
            f"there is no database {file.database}; say where the installation is by "
            "GOLDENTIME_DATA_DIR or GOLDENTIME_DATABASE_URL, or make a new one: goldentime migrate"
        )
    with closing(Record(settings)) as record:
        if ready:
            with record.read() as session:
                if wrong := schema(session):
                    raise NoDatabase(wrong)
        yield record


def main(argv: list[str]) -> int:
    """`goldentime health`: does one part of this installation work?

    Exit status 0 when it does; else 1 and one line that says what is wrong.
    """
    parser = argparse.ArgumentParser(
        prog="goldentime health",
        description="Check one part of this installation.",
        epilog="example: goldentime health classify",
    )
    parser.add_argument("name", choices=[*DOORS, *LOOPS, *OPTIONAL_LOOPS, "migrate"])
    parser.add_argument("--url", help="where the gateway or stream listens, when not on its port")
    parser.add_argument(
        "--end-frozen",
        action="store_true",
        help=f"a process that stays silent for {watchdog.CONFIRM_S:g} s more is ended (SIGKILL), "
        "so that whoever started it starts it again",
    )
    parser.add_argument("--anywhere", action="store_true", help="a process on any machine will do")
    options = parser.parse_args(argv)
    settings = settings_.from_env()
    if options.end_frozen and options.name not in {*LOOPS, *OPTIONAL_LOOPS}:
        parser.error("--end-frozen is for " + ", ".join([*LOOPS, *OPTIONAL_LOOPS]))
    try:
        if options.name in DOORS:
            address, path = DOORS[options.name]
            wrong = door(settings, (options.url or address) + path)
            if wrong and not options.url:
                wrong += " (its usual address; --url names another)"
        else:
            with opened(settings, ready=False) as record, record.read() as session:
                if options.name == "migrate":
                    wrong = schema(session)
                else:
                    wrong = loop(session, options.name, "" if options.anywhere else settings.node)
        if wrong and options.end_frozen:
            _end_frozen(settings, options.name)
    except GoldentimeError as error:
        wrong = error.told
    if wrong:
        print(f"{options.name}: {wrong}", file=sys.stderr)
        return 1
    print(f"{options.name}: ok")
    return 0


def _end_frozen(settings: Settings, kind: str) -> None:
    with closing(Record(settings)) as record:
        watchdog.Watchdog(record, [kind]).watch(
            threading.Event(), watchdog.CONFIRM_S + 3 * watchdog.LOOK_S
        )


def door(settings: Settings, url: str, timeout_s: float = TIMEOUT_S) -> str | None:
    """What is wrong with an HTTP door, or None."""
    if not url.startswith(("http://", "https://")):
        return f"{url} is no http address"
    host = (settings.trusted_hosts or ("127.0.0.1",))[0]
    request = urllib.request.Request(url, headers={"Host": host})  # noqa: S310  # scheme checked above
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310
            return None if answer.status == 200 else f"{url} answers {answer.status}"
    except urllib.error.HTTPError as error:  # it does answer, and says what is wrong
        return f"{url} answers {error.code}{_code_of(error)}"
    except (urllib.error.URLError, OSError) as error:
        why = getattr(error, "reason", error)
        return f"{url} does not answer: {getattr(why, 'strerror', None) or why}"


def _code_of(answer: urllib.error.HTTPError) -> str:
    """The code of an answer that is a problem+json, else nothing."""
    try:
        return f" ({json.load(answer)['code']})"
    except (ValueError, LookupError, TypeError, OSError):
        return ""


def loop(session: Session, kind: str, node: str, since: datetime | None = None) -> str | None:
    """What is wrong with a heartbeat, or None; `since` leaves out those of an earlier run."""
    alive = [
        row
        for row in heartbeat.alive(session, kind)
        if node in row.name and (since is None or row.beat_at >= since)
    ]
    where = f" on {node}" if node else ""
    return None if alive else f"no sign of life{where} in the last {heartbeat.STALE_S:g} s"


def schema(session: Session) -> str | None:
    """What is wrong with the tables, or None; those of a later version are expanded, not wrong."""
    connection = session.connection()
    scripts = ScriptDirectory.from_config(config(connection))
    if not inspect(connection).has_table("alembic_version"):
        return "the tables are not there; run goldentime migrate"
    found, head = revision(session), scripts.get_current_head()
    if found == head or of_a_later_version(session):
        return None
    return f"the tables are at {found}, not {head}; run goldentime migrate"


def revision(session: Session) -> str | None:
    """The version of the tables; may be one that this version of the code does not know yet."""
    found: str | None = session.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def of_a_later_version(session: Session) -> str | None:
    """The tables' version when a later one than ours has expanded them, in an update's middle."""
    scripts = ScriptDirectory.from_config(config(session.connection()))
    found = revision(session)
    return None if found in {script.revision for script in scripts.walk_revisions()} else found
