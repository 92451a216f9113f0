"""The drill: a backup made under writes comes back in an empty box, whole and checked."""

from __future__ import annotations

import dataclasses
import errno
import json
import random
import shutil
import threading
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import func, select
from sqlalchemy.engine import make_url

from broker import backup, check, sandbox, settings as settings_
from broker.backup import BackupFailed
from broker.imagestore import ImageStore
from broker.record import Record
from broker.settings import Settings
from broker.tables import Case, Image
from dispatch import intake
from dispatch.intake import Submission
from models import xray
from tests.integration.city import City
from tests.servers import PostgresServer

FILM = (resources.files("models") / "samples" / "normal.png").read_bytes()


@pytest.fixture(scope="module", autouse=True)
def warm_child() -> None:
    sandbox.warm(["dispatch.film"])


@pytest.fixture(autouse=True)
def tools(settings: Settings) -> None:
    if settings.database.startswith("postgresql") and not shutil.which("pg_dump"):
        pytest.skip("pg_dump is not on PATH")


@pytest.fixture
def empty_box(
    settings: Settings, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Settings]:
    """Settings of an installation that holds nothing yet, of the same kind."""
    box = dataclasses.replace(settings, data_dir=tmp_path / "new box")
    if make_url(settings.database).get_backend_name() == "sqlite":
        yield dataclasses.replace(box, database_url="")
        return
    server = request.getfixturevalue("postgres_server")
    assert isinstance(server, PostgresServer)
    with server.database(f"gt_box_{uuid4().hex[:8]}") as url:
        yield dataclasses.replace(box, database_url=url)


def submit_with_film(city: City, number: int) -> None:
    """What the gateway does: bytes, then rows. The trailing bytes make each film another one."""
    store, case_id = ImageStore(city.settings), uuid4()
    with store.incoming() as paths:
        with paths[0].open("wb") as file:
            file.write(FILM + b"%08d" % number)
        with paths[0].open("rb") as source:
            again = paths[0].with_suffix(".in")
            film = intake.open_upload(store, source, (again, paths[1]))
        intake.keep(store, case_id, film)
        city.do(
            intake.submit,
            city.settings,
            city.crew,
            uuid4().hex,
            Submission(crew_pre_ktas=3),
            film,
            case_id,
        )


def test_a_backup_under_writes_comes_back_whole(city: City, empty_box: Settings, tmp_path: Path):
    for number in range(12):
        submit_with_film(city, number)
    over, written, errors = threading.Event(), [12], []

    def write() -> None:
        try:
            while not over.is_set():
                submit_with_film(city, written[0])
                city.offered()
                written[0] += 1
        except Exception as error:
            errors.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    folder = tmp_path / "backups"
    try:
        began = time.monotonic()
        manifests = []
        while len(manifests) < 3 or written[0] < 20:
            manifests.append(backup.make(city.settings, folder))
            assert time.monotonic() - began < 120
    finally:
        over.set()
        writer.join(60)
    assert errors == []
    assert backup.latest(folder) == manifests[-1]

    report = backup.bring_back(empty_box, manifests[-1])
    assert report.violations == []
    assert report.notes == []  # no film too many either
    restored, store = Record(empty_box), ImageStore(empty_box)
    with restored.read() as session, city.record.read() as original:
        assert (session.scalar(select(func.count()).select_from(Case)) or 0) >= 12
        known = set(original.scalars(select(Case.id)))
        assert set(session.scalars(select(Case.id))) <= known
        films = session.execute(select(Image.case_id, Image.rendition_sha256)).all()
    for case_id, name in random.sample(films, min(20, len(films))):
        film = xray.decode(store.get(case_id, name))
        assert film.pixels.shape[0] > 100
    submitted = City.found(restored).offered()  # it lives
    assert len(submitted[1]) == 3
    restored.close()


def test_films_lie_in_a_folder_of_backups_once(city: City, tmp_path: Path):
    submit_with_film(city, 1)
    first = backup.make(city.settings, tmp_path)
    before = {path: path.stat().st_ino for path in (tmp_path / "images").glob("*/*")}
    submit_with_film(city, 2)
    second = backup.make(city.settings, tmp_path)
    after = {path: path.stat().st_ino for path in (tmp_path / "images").glob("*/*")}
    assert before.items() <= after.items()
    assert len(json.loads(first.read_text())["images"]) == 2
    assert len(json.loads(second.read_text())["images"]) == 4
    assert backup.latest(first.parent) == first


def test_a_target_that_holds_anything_is_refused(city: City, empty_box: Settings, tmp_path: Path):
    submit_with_film(city, 1)
    manifest = backup.make(city.settings, tmp_path / "backups")
    with pytest.raises(BackupFailed, match=r"there already|has tables|holds images"):
        backup.bring_back(city.settings, manifest)
    backup.bring_back(empty_box, manifest)
    with pytest.raises(BackupFailed, match="holds images"):
        backup.bring_back(empty_box, manifest)
    shutil.rmtree(empty_box.images)
    with pytest.raises(BackupFailed, match=r"there already|has tables"):
        backup.bring_back(empty_box, manifest)


def test_damage_is_found_before_anything_is_put_in_place(
    city: City, empty_box: Settings, tmp_path: Path
):
    submit_with_film(city, 1)
    manifest = backup.make(city.settings, tmp_path / "backups")
    dump = manifest.parent / json.loads(manifest.read_text())["database"]["file"]
    whole = dump.read_bytes()
    dump.write_bytes(whole[:-1] + b"!")
    with pytest.raises(BackupFailed, match="not what the manifest says"):
        backup.bring_back(empty_box, manifest)
    dump.write_bytes(whole)
    film = next((tmp_path / "backups" / "images").glob("*/*"))
    whole = film.read_bytes()
    film.write_bytes(whole[:-1] + b"!")
    with pytest.raises(BackupFailed, match="is damaged"):
        backup.bring_back(empty_box, manifest)
    film.write_bytes(whole)
    assert backup.bring_back(empty_box, manifest).violations == []  # the box was left empty


def test_a_lost_film_is_named_and_the_rest_is_saved(
    city: City,
    empty_box: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    for number in range(2):
        submit_with_film(city, number)
    lost = next(city.settings.images.glob("[0-9a-f][0-9a-f]/*/*"))
    lost.unlink()
    monkeypatch.setattr(settings_, "from_env", lambda: city.settings)
    assert backup.backup([str(tmp_path / "backups")]) == 1
    told = capsys.readouterr().out
    assert lost.name[:12] in told
    assert "3 images" in told
    monkeypatch.setattr(settings_, "from_env", lambda: empty_box)
    assert backup.restore([str(tmp_path / "backups")]) == 1
    assert "not in the store" in capsys.readouterr().out


def test_a_copy_that_was_cut_short_is_made_again(city: City, empty_box: Settings, tmp_path: Path):
    submit_with_film(city, 1)
    backup.make(city.settings, tmp_path)
    film = next((tmp_path / "images").glob("*/*"))
    film.write_bytes(film.read_bytes()[:100])
    manifest = backup.make(city.settings, tmp_path)
    assert backup.bring_back(empty_box, manifest).violations == []


def test_a_full_backup_disk_is_told_and_leaves_nothing(
    city: City, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    submit_with_film(city, 1)

    def full(_path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(backup, "_sync", full)
        with pytest.raises(BackupFailed, match="No space left on device"):
            backup.make(city.settings, tmp_path / "backups")
    assert list((tmp_path / "backups").glob("2*")) == []
    (tmp_path / "file").touch()
    with pytest.raises(BackupFailed, match="Not a directory"):
        backup.make(city.settings, tmp_path / "file")


@pytest.mark.parametrize("said", ["", "{", "[]", "{}", '{"format": 2}', '{"format": 1}'])
def test_a_manifest_that_is_none(empty_box: Settings, tmp_path: Path, said: str):
    manifest = tmp_path / backup.MANIFEST
    manifest.write_text(said)
    with pytest.raises(BackupFailed, match=r"damaged|format|says nothing"):
        backup.bring_back(empty_box, manifest)


@pytest.mark.parametrize("ending", ["-journal", "-wal"])
def test_a_journal_that_somebody_left_is_no_empty_box(
    city: City, empty_box: Settings, tmp_path: Path, ending: str
):
    """SQLite would play it into the restored database."""
    database = make_url(empty_box.database).database
    if not empty_box.database.startswith("sqlite"):
        pytest.skip("PostgreSQL keeps its log to itself")
    manifest = backup.make(city.settings, tmp_path / "backups")
    left = Path(f"{database}{ending}")
    left.parent.mkdir(parents=True, exist_ok=True)
    left.write_bytes(b"of another life")
    with pytest.raises(BackupFailed, match=f"{ending} is there already"):
        backup.bring_back(empty_box, manifest)
    left.unlink()
    assert backup.bring_back(empty_box, manifest).violations == []


def test_an_unfinished_backup_is_none(city: City, tmp_path: Path):
    manifest = backup.make(city.settings, tmp_path)
    manifest.rename(manifest.with_suffix(".part"))
    with pytest.raises(BackupFailed, match="no finished backup"):
        backup.latest(tmp_path)


def test_without_the_tools_of_postgresql_it_says_what_to_install(
    city: City, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    if city.settings.database.startswith("sqlite"):
        pytest.skip("SQLite needs no tools")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackupFailed, match="install PostgreSQL's client tools"):
        backup.make(city.settings, tmp_path / "backups")


def test_check_of_the_source_stays_clean(city: City, tmp_path: Path):
    submit_with_film(city, 1)
    backup.make(city.settings, tmp_path)
    assert check.run(city.record, hashes=True).violations == []
