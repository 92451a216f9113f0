"""What goes wrong at the command line is told in words, and what to do about it; no traceback."""

from __future__ import annotations

import json
import signal
import socket
from contextlib import closing
from pathlib import Path
from threading import Thread

import pytest
from werkzeug.serving import make_server

from broker import command, database, settings as settings_
from broker.settings import Settings
from tests.conftest import IDENTITY_KEYS
from web import supervised
from web.app import create_app
from web.supervised import DidNotStart

TAKES_A_DATABASE = [
    ["check"],
    ["encrypt"],
    ["backup", "backups"],
    ["health", "upkeep"],
    ["health", "migrate"],
    ["beds", "import", "beds.csv"],
    ["register", "ambulance", "Golden 99"],
]
TAKES_TABLES = [line for line in TAKES_A_DATABASE if line != ["health", "upkeep"]]
words = pytest.mark.parametrize("line", TAKES_A_DATABASE, ids=" ".join)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in, with settings that name an installation in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GOLDENTIME_DATA_DIR", str(tmp_path / "here"))
    monkeypatch.setenv("GOLDENTIME_IDENTITY_KEYS", ",".join(IDENTITY_KEYS))
    tmp_path.joinpath("beds.csv").write_text("emergency_room,beds_available\nQuiet,1\n")
    return tmp_path


@pytest.fixture
def installed(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a migrated database, which the settings name."""
    monkeypatch.setenv("GOLDENTIME_DATABASE_URL", database_url)
    return database_url


def told(capsys: pytest.CaptureFixture[str], line: list[str], status: int = 1) -> str:
    """The one line that a command says when it fails."""
    assert command.main(line) == status
    said = capsys.readouterr()
    (complaint,) = (said.err or said.out).splitlines()
    return complaint


@words
def test_without_a_database_it_says_where_it_looked_and_makes_none(
    line: list[str], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = told(capsys, line)
    assert f"there is no database {place}/here/goldentime.sqlite3" in said
    assert "GOLDENTIME_DATA_DIR" in said
    assert not (place / "here").exists()


@words
def test_a_database_that_does_not_answer(
    line: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        monkeypatch.setenv("GOLDENTIME_DATABASE_URL", f"postgresql://kim:hush@{address}/gt")
        said = told(capsys, line)
    assert "Connection refused" in said
    assert "GOLDENTIME_DATABASE_URL" in said
    assert "hush" not in said
    assert "Idempotency-Key" not in said


@pytest.mark.parametrize("address", ["nonsense-hush", "mysql://kim:hush@db/gt"])
@words
def test_an_address_that_is_none(
    line: list[str],
    address: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("GOLDENTIME_DATABASE_URL", address)
    said = told(capsys, line)
    assert "GOLDENTIME_DATABASE_URL is no address such as postgresql://" in said
    assert "hush" not in said


@pytest.mark.parametrize("line", TAKES_TABLES, ids=" ".join)
def test_without_tables(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with database.connect(settings_.from_env()).connect() as connection:
        connection.exec_driver_sql("CREATE TABLE strange (id INTEGER)")
        connection.commit()
    assert "run goldentime migrate" in told(capsys, line)


def test_a_folder_that_cannot_be_made(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place.joinpath("file").touch()
    monkeypatch.setenv("GOLDENTIME_DATA_DIR", str(place / "file" / "folder"))
    said = told(capsys, ["migrate"])
    assert f"GOLDENTIME_DATA_DIR={place}/file/folder cannot be made" in said


def test_no_right_to_write(
    installed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lock of SQLite's writers belongs to another user."""
    if not installed.startswith("sqlite"):
        pytest.skip("SQLite's files only")

    def refused(path: str, *_: object) -> int:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(database.os, "open", refused)
    said = told(capsys, ["register", "ambulance", "Golden 99"])
    assert "Permission denied" in said


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("CANARY_S", "often", "a number"),
        ("READING_ATTEMPTS", "2.5", "a whole number"),
        ("COOKIE_SECURE", "yes", "1 or 0"),
        ("STEPS_URGENT", "20/45", "three numbers such as 20/45/90"),
    ],
)
def test_a_setting_that_cannot_be_read(
    name: str,
    value: str,
    wanted: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(f"GOLDENTIME_{name}", value)
    assert f"GOLDENTIME_{name}={value!r} is not {wanted}" in told(capsys, ["check"])


def test_a_door_that_answers_is_not_said_to_be_silent(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(
        data_dir=place,
        database_url="postgresql+psycopg://nobody@127.0.0.1:9/none",
        secret_key="s" * 40,
        identity_keys=IDENTITY_KEYS,
    )
    server = make_server("127.0.0.1", 0, create_app(settings))
    with closing(server.socket):
        Thread(target=server.handle_request, daemon=True).start()
        url = f"http://127.0.0.1:{server.port}"
        assert command.main(["health", "gateway", "--url", url]) == 1
    said = capsys.readouterr().err.splitlines()  # the server logs into the same
    (complaint,) = (line for line in said if line.startswith(f"gateway: {url}/"))
    assert complaint.endswith(" answers 503 (database_busy)")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("register person kim Kim emergency_room", "add --unit with its emergency room's name"),
        ("register person kim Kim crew --unit X", "there is no ambulance with call sign 'X'"),
        ("register device tablet crew", "add --unit with its ambulance's call sign"),
        ("register revoke tablet", "no device in use is called 'tablet'"),
        ("register city nowhere.json", "nowhere.json: No such file or directory"),
        ("register city city.json", "city.json: there is no 'emergency_rooms' in it"),
        ("beds import nowhere.csv", "nowhere.csv: No such file or directory"),
    ],
)
@pytest.mark.usefixtures("installed")
def test_what_is_asked_for_is_not_there(
    line: str, says: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place.joinpath("city.json").write_text(json.dumps({"hospitals": []}))
    assert says in told(capsys, line.split())


@pytest.fixture
def no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is started here, whatever is not refused."""

    def refuse(*_: object) -> None:
        raise DidNotStart("it was not refused")

    monkeypatch.setattr(supervised.Supervisor, "start", refuse)
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the demo's own would stay


@pytest.mark.usefixtures("no_start", "installed")
def test_the_demo_leaves_an_installation_with_people_alone(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would fill it with its city, and give its people's accounts a password that it prints."""
    assert command.main(["register", "person", "admin", "Dr Kim", "admin"]) == 0
    capsys.readouterr()
    said = told(capsys, ["demo", "--data-dir", str(place), "--port", "8990"])
    assert "the database of an installation with people of its own" in said


@pytest.mark.usefixtures("no_start")
def test_a_second_demo_in_one_folder(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with supervised._alone(place):
        assert command.main(["demo", "--data-dir", str(place), "--port", "8990"]) == 1
    assert f"{place} is in use: one runs there already" in capsys.readouterr().err
    assert command.main(["demo", "--data-dir", str(place), "--port", "8990"]) == 1
    assert "it was not refused" in capsys.readouterr().err


@pytest.mark.usefixtures("no_start")
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--data-dir", "file/folder"], "the data folder file/folder cannot be made or used"),
        (["--port", "99999"], "no 3 free ports from 99999"),
        (["--data-dir", "/proc/self"], "the data folder /proc/self cannot be made or used"),
    ],
)
def test_a_demo_that_has_no_place(
    words: list[str], says: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place.joinpath("file").touch()
    assert says in told(capsys, ["demo", *words])


def test_a_seal_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["check", "--sealed", "3:abc"])
    assert "'3:abc' is no seal: the number, a colon" in capsys.readouterr().err
