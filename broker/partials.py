"""Bytes of films that arrive in pieces, on the volume of the image store.

A file per upload, named by the upload's id. Its length is how far the upload has come: a row would
lie after a crash. What the bytes mean and whose they are is not known here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from broker.errors import StorageFull, WrongOffset
from broker.imagestore import CHUNK_BYTES
from broker.settings import Settings


class Partials:
    """A folder of unfinished files."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.images / "partial"

    def path(self, upload_id: UUID) -> Path:
        """Where an upload's bytes lie, if there are any."""
        return self._folder / upload_id.hex

    def offset(self, upload_id: UUID) -> int:
        """How many bytes are here."""
        try:
            return self.path(upload_id).stat().st_size
        except FileNotFoundError:
            return 0

    def append(self, upload_id: UUID, offset: int, source: BinaryIO, byte_count: int) -> int:
        """Write a piece that begins at offset, never past byte_count; returns the new offset.

        Whatever arrived before `source` broke is kept. No lock: a writer whose line died silently
        and the one that came back write the same bytes to the same places, and the whole is
        compared with its hash before use. Raises WrongOffset or StorageFull.
        """
        if offset != self.offset(upload_id):
            raise WrongOffset(offset=self.offset(upload_id))
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path(upload_id), os.O_WRONLY | os.O_CREAT, 0o600)
        except OSError as error:
            raise StorageFull() from error
        try:
            while offset < byte_count:
                chunk = source.read(min(CHUNK_BYTES, byte_count - offset))
                if not chunk:
                    break
                try:
                    offset += os.pwrite(handle, chunk, offset)
                except OSError as error:
                    raise StorageFull() from error
        finally:
            os.close(handle)
        return offset

    def delete(self, upload_id: UUID) -> None:
        """Forget an upload's bytes."""
        self.path(upload_id).unlink(missing_ok=True)

    def older_than(self, age_s: float, now_s: float) -> Iterator[UUID]:
        """Uploads to whose files nobody has added for age_s seconds."""
        if not self._folder.is_dir():
            return
        for path in self._folder.iterdir():
            try:
                if now_s - path.stat().st_mtime > age_s:
                    yield UUID(hex=path.name)
            except (FileNotFoundError, ValueError):
                continue
