"""Beds from a CSV file: whole or not at all, and every fault with its line and column."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from broker import database
from broker.record import Record
from broker.settings import to_env
from broker.tables import EmergencyRoom
from dispatch import beds_csv
from dispatch.beds_csv import BadFile
from tests.integration.city import City
from web import beds_cli

HEAD = "emergency_room,beds_available,beds_at,capabilities\n"


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("", ["line 1: the column emergency_room is missing", "line 1: neither beds_available"]),
        (HEAD, ["the file has no line below its header"]),
        ("emergency_room,beds\nA,1\n", ["line 1: 'beds' is no column", "line 1: neither"]),
        ("emergency_room,beds_available,beds_available\n", ["line 1: 'beds_available' stands"] * 2),
        (
            HEAD + "A,NaN,,\nB,1.5,,\nC,-501,,\nD,9999,,\n",
            [
                "line 2: beds_available: 'NaN' is no whole number",
                "line 3: beds_available: '1.5' is no whole number",
                "line 4: beds_available: -501 is outside -500 to 5000",
                "line 5: beds_available: 9999 is outside -500 to 5000",
            ],
        ),
        (HEAD + ",1,,\n", ["line 2: emergency_room: is empty"]),
        (HEAD + "A,,,\n", ["line 2: beds_available: the line says nothing"]),
        (HEAD + "A,1,yesterday,\n", ["line 2: beds_at: 'yesterday' is no time like"]),
        (HEAD + "A,1,2026-11-24T10:30:00,\n", ["line 2: beds_at: '2026-11-24T10:30:00' has no"]),
        (HEAD + "A,,2026-11-24T10:30:00Z,ct\n", ["line 2: beds_at: needs beds_available"]),
        (HEAD + "A,1,,ct;mri\n", ["line 2: capabilities: 'mri' is none of thoracic_surgery"]),
        (HEAD + "A,1,,\nA,2,,\n", ["line 3: emergency_room: 'A' stands in line 2 already"]),
        (HEAD + "A,1,,,,,\n", ["line 2: : more cells than the header has columns"]),
        (HEAD + 'A,"1,,\n', ["line 2: is no CSV"]),
    ],
)
def test_faults_name_line_and_column(text: str, faults: list[str]) -> None:
    with pytest.raises(BadFile) as caught:
        beds_csv.read(text.encode())
    assert len(caught.value.faults) == len(faults), caught.value.faults
    for said, wanted in zip(caught.value.faults, faults, strict=True):
        assert said.startswith(wanted)


def test_files_that_are_no_text() -> None:
    with pytest.raises(BadFile, match="not UTF-8"):
        beds_csv.read("emergency_room,beds_available\n응급실,1\n".encode("euc-kr"))
    with pytest.raises(BadFile, match="larger than"):
        beds_csv.read(b"x" * (beds_csv.MAX_BYTES + 1))


def names(record: Record) -> list[EmergencyRoom]:
    with record.read() as session:
        return session.query(EmergencyRoom).order_by(EmergencyRoom.name).all()


def test_a_file_is_imported_by_the_command(
    record: Record,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    City.found(record)
    for name, value in to_env(record.settings, {}).items():
        if name.startswith("GOLDENTIME_"):
            monkeypatch.setenv(name, value)
    with record.write() as session:
        now = database.now(session)
        first, second, third, *_ = session.query(EmergencyRoom).order_by(EmergencyRoom.name)
        second.feed_id, third.beds_available, third.beds_at = "T1", 8, now
        room_names = (first.name, second.name, third.name)
    old = (now - timedelta(hours=1)).isoformat()
    file = tmp_path / "beds.csv"
    lines = f"{room_names[0]},-12,,ct; ventilator\nT1,3,{old},\n{room_names[2]},1,{old},\n"
    file.write_text("\ufeff" + HEAD + lines, encoding="utf-8")
    assert beds_cli.beds(["import", str(file)]) == 0
    assert capsys.readouterr().out == "2 emergency rooms; 1 had a newer figure\n"
    first, second, third, *_ = names(record)
    assert (first.beds_available, first.beds_source) == (-12, "file")
    assert first.capabilities == ["ct", "ventilator"]
    assert second.beds_available == 3
    assert (third.beds_available, third.beds_source) == (8, None)
    # One unknown ER, one figure of tomorrow, the same ER by two names: nothing is written.
    later = (now + timedelta(days=1)).isoformat()
    bad = f"{room_names[0]},7,,\nT1,1,{later},\n{room_names[1]},2,,\nNowhere,1,,\n"
    file.write_text(HEAD + bad, encoding="utf-8")
    assert beds_cli.beds(["import", str(file)]) == 1
    said = capsys.readouterr().err
    assert f"{file}: line 3: beds_at: {later} is in the future" in said
    assert f"{file}: line 4: emergency_room: {room_names[1]!r} is the one of line 3" in said
    assert f"{file}: line 5: emergency_room: there is no emergency room 'Nowhere'" in said
    assert "nothing was imported" in said
    assert names(record)[0].beds_available == -12
    assert beds_cli.beds(["import", str(tmp_path / "absent.csv")]) == 1
    assert "absent.csv" in capsys.readouterr().err
