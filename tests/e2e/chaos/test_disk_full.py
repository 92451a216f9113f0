"""A disk that is full to the brim: a small tmpfs holds the data folder or a part, and is filled.

Database, image store, logs and Redis's file lie on it, or the database alone, or all but it. No
fake free-space figure: writes fail with ENOSPC wherever they happen to. Needs root, for mount.
"""

from __future__ import annotations

import errno
import os
import random
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from broker import check
from tests.e2e.chaos import truth
from tests.e2e.chaos.box import Box, box as running_box
from tests.e2e.chaos.crowd import Crowd, Life, Refused
from tests.servers import RedisServer

pytestmark = pytest.mark.timeout(3600)
DISK_MIB = 64
REFUSALS = {"storage_full", "database_busy"}
BACK_S = 10.0
"""P13: after space returns, submits are taken again within this, without a restart."""


@dataclass
class Disk:
    """A file system of its own."""

    folder: Path

    def fill(self, leave_bytes: int) -> None:
        """Take all room but so many bytes (whole pages)."""
        self.free()
        with (self.folder / "ballast").open("wb", buffering=0) as ballast:
            while True:
                size = max(self.room - leave_bytes, os.sysconf("SC_PAGE_SIZE"))
                try:
                    os.posix_fallocate(ballast.fileno(), 0, size)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    continue  # somebody wrote meanwhile
                return

    def free(self) -> None:
        (self.folder / "ballast").unlink(missing_ok=True)

    @property
    def room(self) -> int:
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    folder = tmp_path_factory.mktemp("disk")
    size = f"size={DISK_MIB}m"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "goldentime-test", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here (it needs root): {done.stderr.strip()}")
    yield Disk(folder)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="module", params=["everything", "the database", "the films"])
def box(
    disk: Disk, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Box]:
    """An installation on SQLite of which every byte, or that part, lies on the small disk."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    database = elsewhere if request.param == "the films" else disk.folder
    rest = elsewhere if request.param == "the database" else disk.folder
    folder = rest / f"redis {request.param}"
    folder.mkdir()
    redis = RedisServer(folder)
    redis.start()
    url = f"sqlite:///{database}/{request.param}.sqlite3"
    try:
        with running_box(url, rest, redis, None, lease_s=4) as running:
            yield running
    finally:
        disk.free()
        redis.stop()


def test_a_full_disk_refuses_and_heals(
    box: Box, disk: Disk, crowd: Crowd, seed: int, long_run: bool
):
    chance = random.Random(seed)
    print(f"seed {seed} (replay with --seed {seed})")
    before = crowd.live(2)
    lives: list[Life] = []
    answers: dict[str, int] = {}
    for turn in range(60 if long_run else 12):
        # Now to the brim, now with room for some of what a submission writes.
        leave = 0 if turn % 3 == 0 else chance.randrange(400_000)
        box.strike(f"{leave} bytes left")
        disk.fill(leave)
        sent = one_try(crowd, lives)
        answers[sent] = answers.get(sent, 0) + 1
        assert check.run(box.record, stopped=True).violations == []
    for _ in range(20):  # somebody may tidy up a little meanwhile
        disk.fill(0)
        if disk.room == 0:
            break
    assert disk.room == 0
    assert one_try(crowd, lives) in REFUSALS
    disk.free()
    began = time.monotonic()
    while (answer := one_try(crowd, lives)) != "receipt":
        assert answer in REFUSALS
        assert time.monotonic() - began <= BACK_S, answer
        time.sleep(0.2)
    back_s = time.monotonic() - began
    print(f"{answers}, {len(lives)} receipts; taken again {back_s:.1f} s after space came back")
    assert answers.keys() <= REFUSALS | {"receipt"}
    assert answers.keys() & REFUSALS
    for life in lives:
        crowd.offers(life)
    box.wait(lambda: truth.unfinished_readings(box) == 0, "the end of every reading", 120)
    truth.nothing_lost(box, crowd, [*before, *lives])
    truth.one_holder(box, before)
    truth.holds(box)
    assert list((box.settings.images / "incoming").iterdir()) == []
    truth.one_holder(box, crowd.live(2))  # everything goes on by itself


def one_try(crowd: Crowd, lives: list[Life]) -> str:
    """Send a case once: "receipt", or the problem's code; any other answer fails."""
    try:
        lives.append(crowd.submit(tries=False))
    except Refused as refused:
        return refused.code if refused.problem else "no problem+json"
    return "receipt"
