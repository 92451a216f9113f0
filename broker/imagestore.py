"""Image bytes on a local or shared volume, by case and hash.

A put is durable when it returns: temporary name, fsync, rename, fsync of the folder. Names are made
here from ids and hashes only, never from what a client sent. What the bytes mean is not known here.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import UUID, uuid4

from broker.errors import NotFound, StorageFull, TooLarge
from broker.settings import Settings

CHUNK_BYTES = 256 * 1024


class ImageStore:
    """A folder per case, a file per hash; `original` files are quarantine and never served."""

    def __init__(self, settings: Settings) -> None:
        self.root = settings.images
        self._incoming = self.root / "incoming"
        self._max_bytes = settings.max_upload_bytes
        self._min_free_bytes = settings.min_free_bytes

    def check_room(self) -> None:
        """Raise StorageFull when less room is left than min_free_bytes or 5 %."""
        if not self.root.is_dir():
            self.root.mkdir(parents=True, exist_ok=True)
            _sync_folder(self.root.parent)
        usage = shutil.disk_usage(self.root)
        if usage.free < min(self._min_free_bytes, usage.total * 0.05):
            raise StorageFull()

    @contextmanager
    def incoming(self) -> Iterator[tuple[Path, Path]]:
        """Two temporary paths (upload, rendition), removed at the end unless they were kept."""
        self._incoming.mkdir(parents=True, exist_ok=True)
        stem = uuid4().hex
        upload, rendition = self._incoming / stem, self._incoming / f"{stem}.png"
        try:
            yield upload, rendition
        finally:
            upload.unlink(missing_ok=True)
            rendition.unlink(missing_ok=True)

    def receive(self, source: BinaryIO, path: Path) -> tuple[str, int]:
        """Stream an upload to a temporary path; returns its SHA-256 and length in bytes."""
        digest, length = hashlib.sha256(), 0
        try:
            with path.open("wb") as target:
                while chunk := source.read(CHUNK_BYTES):
                    length += len(chunk)
                    if length > self._max_bytes:
                        raise TooLarge(self._max_bytes)
                    digest.update(chunk)
                    target.write(chunk)
        except OSError as error:
            raise StorageFull() from error
        return digest.hexdigest(), length

    def keep(self, path: Path, case_id: UUID, sha256: str) -> None:
        """Move a temporary file to its place and return when a power cut cannot take it back."""
        folder = self._folder(case_id)
        try:
            with path.open("rb") as file:
                os.fsync(file.fileno())
            made = not folder.exists()
            folder.mkdir(parents=True, exist_ok=True)
            path.rename(folder / sha256)
            _sync_folder(folder)
            if made:
                _sync_folder(folder.parent)
                _sync_folder(folder.parent.parent)
        except OSError as error:
            raise StorageFull() from error

    def path(self, case_id: UUID, sha256: str) -> Path:
        """Where the bytes of a hash lie; NotFound when they are gone."""
        path = self._folder(case_id) / sha256
        if not path.is_file():
            raise NotFound(f"image {sha256[:12]} of case {case_id} is not in the store")
        return path

    def get(self, case_id: UUID, sha256: str) -> bytes:
        """The bytes of a hash."""
        return self.path(case_id, sha256).read_bytes()

    def derived(self, case_id: UUID, sha256: str, kind: str, make: Callable[[Path], None]) -> bytes:
        """What can be made again from a kept file, made once: `make` writes it to the path it gets.

        Lies beside its source as `<hash>.<kind>` and is neither backed up nor promised.
        """
        path = self._folder(case_id) / f"{sha256}.{kind}"
        try:
            return path.read_bytes()
        except FileNotFoundError:
            pass
        self._incoming.mkdir(parents=True, exist_ok=True)
        temporary = self._incoming / uuid4().hex
        try:
            make(temporary)
            data = temporary.read_bytes()
            temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)
        return data

    def delete(self, case_id: UUID) -> None:
        """Remove everything of a case."""
        shutil.rmtree(self._folder(case_id), ignore_errors=True)

    def reap(self, older_than_s: float, now_s: float) -> int:
        """Remove temporary files that a killed process left; returns how many."""
        removed = 0
        if self._incoming.is_dir():
            for path in self._incoming.iterdir():
                try:
                    if now_s - path.stat().st_mtime > older_than_s:
                        path.unlink()
                        removed += 1
                except FileNotFoundError:
                    continue
        return removed

    def _folder(self, case_id: UUID) -> Path:
        return self.root / case_id.hex[:2] / case_id.hex


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
