"""Commands of the doors: demo, and filling an installation with units, people and devices."""

from __future__ import annotations

import argparse
import json
import secrets
import signal
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from sqlalchemy import inspect, select

from broker import health, settings as settings_
from broker.errors import Conflict, GoldentimeError, NotFound
from broker.lifecycle import Role
from broker.record import Record
from broker.settings import Settings
from broker.tables import Account
from dispatch import retention
from web import demo as play, registry, supervised
from web.demo import Tokens

NOT_A_DEVICE = "Research software, not a medical device: not for diagnosis."
DEMO = "Demo "
"""What the displayed names of the demo's people begin with."""
DEMO_PEOPLE = {
    "crew": ("Demo crew", Role.CREW, "Golden 11"),
    "control": ("Demo control room", Role.CONTROL_ROOM, None),
    "operations": ("Demo night operator", Role.OPERATIONS, None),
    "admin": ("Demo administrator", Role.ADMIN, None),
}


def demo(argv: list[str]) -> int:
    """`goldentime demo`: start everything here and play one case."""
    parser = argparse.ArgumentParser(
        prog="goldentime demo",
        description="Start the whole system on this machine and play one case over HTTP. "
        + NOT_A_DEVICE,
        epilog="example: goldentime demo --image film.dcm --once",
    )
    parser.add_argument("--image", type=Path, help="your own PNG, JPEG or DICOM radiograph")
    parser.add_argument("--once", action="store_true", help="end after the case; JSON at the end")
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=Path("var/demo"),
        help="its own folder, whatever GOLDENTIME_DATA_DIR says (default: var/demo)",
    )
    parser.add_argument("--port", type=int, default=8000, help="first port to try (default: 8000)")
    options = parser.parse_args(argv)
    film = options.image or sample_film()
    if not film.is_file():
        print(f"goldentime demo: {film} is not a file", file=sys.stderr)
        return 2
    over = threading.Event()
    # Also Ctrl-C: whoever starts us in the background may have left SIGINT ignored.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, _interrupt)
    try:
        settings = supervised.settle(
            replace(settings_.from_env(), data_dir=options.data_dir),
            first_port=options.port,
        )
        _refuse_people(settings)
    except GoldentimeError as error:
        print(f"goldentime demo: {error.told}", file=sys.stderr)
        return 1
    if supervised.port_of(settings.public_url) != options.port:
        print(f"port {options.port} is busy; using {supervised.port_of(settings.public_url)}")
    print(f"goldentime {NOT_A_DEVICE}")
    try:
        with supervised.running(settings, _tell_part):
            people = prepare(settings)
            print(f"\n  seconds  one case, film {film.name}")
            story = play.play(
                settings.public_url, settings.stream_url, people.tokens, film, _tell_line
            )
            if options.once:
                print(json.dumps(story))
                return 0
            _tell_screens(settings, people)
            over.wait()
    except KeyboardInterrupt:
        print("\nstopped")
        return 0
    except GoldentimeError as error:
        print(f"goldentime demo: {error.told}", file=sys.stderr)
        return 1
    return 0


def _refuse_people(settings: Settings) -> None:
    """Raise Conflict for a database of others: the demo would fill it with its city and people."""
    with (
        suppress(health.NoDatabase),
        health.opened(settings, ready=False) as record,
        record.read() as session,
    ):
        if not inspect(session.connection()).has_table(Account.__tablename__):
            return
        names = session.scalars(select(Account.display_name)).all()
        if names and not any(name.startswith(DEMO) for name in names):
            raise Conflict(
                "GOLDENTIME_DATABASE_URL or --data-dir names the database of an installation with "
                "people of its own; the demo needs one for itself"
            )


class Prepared:
    """The demo city's people: one password, one token per client that plays."""

    def __init__(self, password: str, tokens: Tokens, names: list[tuple[str, str]]) -> None:
        self.password = password
        self.tokens = tokens
        self.names = names


def prepare(settings: Settings) -> Prepared:
    """Fill the record with the fictional demo city; safe to call again."""
    city = resources.files("web") / "demo_city"
    rooms = json.loads((city / "emergency_rooms.json").read_text(encoding="utf-8"))
    units = json.loads((city / "ambulances.json").read_text(encoding="utf-8"))
    password = secrets.token_urlsafe(9)
    hashed = registry.password_hash(password)
    names: list[tuple[str, str]] = []
    record = Record(settings)

    def unit(db: Any) -> Tokens:
        names.clear()
        for facts in units["ambulances"]:
            registry.put_ambulance(db, facts["call_sign"])
        ids = {}
        for number, facts in enumerate(rooms["emergency_rooms"], start=1):
            room = registry.put_emergency_room(db, facts)
            ids[str(room.id)] = room.name
            registry.put_account(
                db,
                f"er{number}",
                f"Demo physician, {room.name}",
                hashed,
                Role.EMERGENCY_ROOM,
                unit=room.name,
            )
            names.append((f"er{number}", room.name))
        for name, (display, role, unit_) in DEMO_PEOPLE.items():
            registry.put_account(db, name, display, hashed, role, unit=unit_)
        registry.revoke_devices(db, "demo")
        return Tokens(
            crew=registry.add_device(db, "demo", Role.CREW, unit="Golden 11"),
            emergency_rooms={
                id_: registry.add_device(db, "demo", Role.EMERGENCY_ROOM, unit=name)
                for id_, name in ids.items()
            },
        )

    tokens = record.again(unit)
    record.close()
    return Prepared(password, tokens, names)


def sample_film() -> Path:
    """One of the generated sample radiographs that the project ships."""
    folder = resources.files("models") / "samples"
    films = sorted(
        str(film) for film in folder.iterdir() if film.name.endswith((".png", ".jpg", ".dcm"))
    )
    if not films:
        raise GoldentimeError("models/samples holds no sample radiograph")
    return Path(films[0])


def register(argv: list[str]) -> int:
    """`goldentime register`: units, people and devices of a real installation."""
    parser = argparse.ArgumentParser(
        prog="goldentime register",
        description="Add ambulances, emergency rooms, people and devices to the record.",
        epilog="examples: goldentime register city emergency_rooms.json | "
        "goldentime register ambulance 'Golden 11' | "
        "goldentime register person kim 'Dr Kim' emergency_room --unit 'Quiet Juniper Hospital' | "
        "goldentime register device tablet-7 crew --unit 'Golden 11'",
    )
    kinds = parser.add_subparsers(dest="kind", required=True)
    city = kinds.add_parser("city", help="emergency rooms from a JSON file like web/demo_city")
    city.add_argument("file", type=Path)
    ambulance = kinds.add_parser("ambulance")
    ambulance.add_argument("call_sign")
    ambulance.add_argument("--phone")
    person = kinds.add_parser("person", help="prints a first password when none comes on stdin")
    person.add_argument("sign_in_name")
    person.add_argument("display_name")
    person.add_argument("role", choices=[role.value for role in Role])
    person.add_argument("--unit", help="call sign or name of the emergency room")
    person.add_argument("--password-stdin", action="store_true")
    device = kinds.add_parser("device", help="prints the token once")
    device.add_argument("label")
    device.add_argument("role", choices=[role.value for role in Role])
    device.add_argument("--unit")
    revoke = kinds.add_parser("revoke", help="revoke the tokens of a device")
    revoke.add_argument("label")
    options = parser.parse_args(argv)
    try:
        with health.opened(settings_.from_env()) as record:
            if options.kind == "person":  # read and hashed before anything is locked
                given = sys.stdin.readline().rstrip("\n") if options.password_stdin else ""
                options.first_password = "" if given else secrets.token_urlsafe(12)
                options.hashed = registry.password_hash(given or options.first_password)
            print(record.again(lambda db: _register(db, options)))
    except GoldentimeError as error:
        print(f"goldentime register: {error.told}", file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        print(f"goldentime register: {getattr(options, 'file', '')}: {said}", file=sys.stderr)
        return 1
    except KeyError as error:
        print(f"goldentime register: {options.file}: there is no {error} in it", file=sys.stderr)
        return 1
    return 0


def encrypt(argv: list[str]) -> int:
    """`goldentime encrypt`: bring every identity to the first key, also those kept in the plain."""
    parser = argparse.ArgumentParser(
        prog="goldentime encrypt",
        description="Encrypt every patient's identity with the first of GOLDENTIME_IDENTITY_KEYS, "
        "whatever key it was written with, or none. Run it after `goldentime migrate`, and after a "
        "new key was put first; then the old key may be taken out. May run while people work, and "
        "again.",
        epilog="example: GOLDENTIME_IDENTITY_KEYS=NEW,OLD goldentime encrypt",
    )
    parser.parse_args(argv)
    try:
        with health.opened(settings_.from_env()) as record:
            done, unreadable = retention.encrypt_all(record)
    except GoldentimeError as error:
        print(f"goldentime encrypt: {error.told}", file=sys.stderr)
        return 1
    print(f"{done} rows written anew")
    if unreadable:
        print(f"{unreadable} identities cannot be read: their key is not in the list; nothing lost")
    return 1 if unreadable else 0


def _register(db: Any, options: argparse.Namespace) -> str:
    match options.kind:
        case "city":
            rooms = json.loads(options.file.read_text(encoding="utf-8"))["emergency_rooms"]
            for facts in rooms:
                registry.put_emergency_room(db, facts)
            return f"{len(rooms)} emergency rooms"
        case "ambulance":
            return f"ambulance {registry.put_ambulance(db, options.call_sign, options.phone).id}"
        case "person":
            registry.put_account(
                db,
                options.sign_in_name,
                options.display_name,
                options.hashed,
                Role(options.role),
                unit=options.unit,
            )
            first = options.first_password
            return f"account {options.sign_in_name}" + (f", password {first}" if first else "")
        case "device":
            token = registry.add_device(db, options.label, Role(options.role), unit=options.unit)
            return f"token (shown once): {token}"
        case _:
            revoked = registry.revoke_devices(db, options.label)
            if not revoked:  # whoever lost a tablet must not believe that it is shut out
                raise NotFound(
                    f"no device in use is called {options.label!r}; /admin lists all of them"
                )
            return f"{revoked} tokens revoked"


def _tell_part(name: str, seconds: float) -> None:
    print(f"  {seconds:7.2f}  {name} works", flush=True)


def _tell_line(seconds: float, text: str) -> None:
    print(f"  {seconds:7.2f}  {text}", flush=True)


def _tell_screens(settings: Settings, people: Prepared) -> None:
    print(f"\n  sign in at {settings.public_url}/sign-in  (password of all: {people.password})")
    print(f"    ambulance    {settings.public_url}/crew         name: crew")
    print(f"    ER           {settings.public_url}/er           name: {people.names[0][0]} … ")
    for name, room in people.names:
        print(f"                   {name:6} {room}")
    print(f"    operations   {settings.public_url}/operations   name: operations (or control)")
    print(f"    admin        {settings.public_url}/admin        name: admin")
    print(f"    API          {settings.public_url}/api/v1/docs")
    print(f"    events       {settings.stream_url}")
    print("\n  Ctrl-C stops everything.", flush=True)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
