"""Image bytes: durable when put, refused when the disk is nearly full, cleaned up after a crash."""

from __future__ import annotations

import hashlib
import io
import os
import time
from pathlib import Path
from uuid import uuid4

import pytest

from broker.errors import NotFound, StorageFull, TooLarge
from broker.imagestore import ImageStore
from broker.settings import Settings

CASE = uuid4()
BYTES = os.urandom(700_000)
HASH = hashlib.sha256(BYTES).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(Settings(data_dir=tmp_path, max_upload_bytes=1_000_000))


def put(store: ImageStore) -> None:
    with store.incoming() as (upload, _):
        assert store.receive(io.BytesIO(BYTES), upload) == (HASH, len(BYTES))
        store.keep(upload, CASE, HASH)


def test_what_was_put_is_there_and_nothing_else(store: ImageStore):
    put(store)
    put(store)  # the same bytes again
    assert store.get(CASE, HASH) == BYTES
    assert [p.name for p in store.path(CASE, HASH).parent.iterdir()] == [HASH]
    assert list((store.root / "incoming").iterdir()) == []
    store.delete(CASE)
    with pytest.raises(NotFound):
        store.get(CASE, HASH)


def test_a_put_is_durable_before_it_returns(store: ImageStore, monkeypatch):
    """File synced before the rename, every new folder entry after it."""
    steps: list[str] = []
    sync, rename = os.fsync, Path.rename

    def synced(handle: int) -> None:
        target = Path(f"/proc/self/fd/{handle}").readlink()
        steps.append(f"sync {'folder' if target.is_dir() else 'file'} {target.name}")
        sync(handle)

    def renamed(path: Path, target: Path) -> Path:
        steps.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    put(store)
    assert steps[0].startswith("sync file")
    assert steps[1] == "rename"
    case, shelf, root = CASE.hex, CASE.hex[:2], store.root.name
    assert steps[2:] == [f"sync folder {name}" for name in (case, shelf, root)]


def test_an_upload_that_is_too_large_leaves_nothing(store: ImageStore):
    with pytest.raises(TooLarge, match=r"0\.954 MiB"), store.incoming() as (upload, _):
        store.receive(io.BytesIO(bytes(1_000_001)), upload)
    assert list((store.root / "incoming").iterdir()) == []


def test_a_nearly_full_disk_is_refused_early(tmp_path: Path, monkeypatch):
    import shutil

    store = ImageStore(Settings(data_dir=tmp_path))
    store.check_room()
    usage = shutil.disk_usage(tmp_path)
    for free, room in ((0, False), (10 * 1024**2, False), (usage.total // 10 + 3 * 1024**3, True)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, f=free: type(usage)(usage.total, 0, f))
        if room:
            store.check_room()
        else:
            with pytest.raises(StorageFull):
                store.check_room()


def test_what_a_killed_process_left_is_swept(store: ImageStore):
    put(store)
    old, new = store.root / "incoming" / "old", store.root / "incoming" / "new"
    old.write_bytes(b"x")
    new.write_bytes(b"x")
    os.utime(old, (time.time() - 700, time.time() - 700))
    assert store.reap(600, time.time()) == 1
    assert not old.exists()
    assert new.exists()
    assert store.get(CASE, HASH) == BYTES


def test_names_come_from_ids_only(store: ImageStore):
    put(store)
    assert store.path(CASE, HASH) == store.root / CASE.hex[:2] / CASE.hex / HASH
