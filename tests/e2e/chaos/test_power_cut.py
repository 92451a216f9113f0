"""What has a receipt survives a power cut between any two system calls of the gateway.

Simulated: strace writes down what the real gateway asks of the file system, and a model replays it
as a disk that keeps only what fsync promised. After every call the power goes: once with nothing
kept that was not synced, once with a random part of it (writes, names) kept, in any order. What is
left is opened by SQLite. Not simulated: torn sectors, disks that lie about fsync, the file system.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
import requests

from broker import migrate
from broker.settings import Settings
from tests.integration.api.processes import ROOT, log_of, running, until
from web import cli, supervised

CALLS = (
    "write,pwrite64,ftruncate,fsync,fdatasync,rename,renameat,renameat2,mkdir,mkdirat,"
    "unlink,unlinkat,openat,sendto"
)
LINE = re.compile(r"^\d+ +(\w+)\((.*)\) += (-?\d+)")
BEGUN = re.compile(r"^(\d+) +(.*) <unfinished \.\.\.>$")
GONE_ON = re.compile(r"^(\d+) +<\.\.\. \w+ resumed>(.*)$")
TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
OPEN_FILE = re.compile(r"^\d+<([^>]*)>")
ANSWER = b"HTTP/1.1 201"


@dataclass
class File:
    """An inode: what programs see, what is on the disk for certain, and what is on its way."""

    seen: bytearray = field(default_factory=bytearray)
    safe: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    """Writes (offset, bytes) and truncations (length, None) since the last fsync."""

    def change(self, at: int, data: bytes | None) -> None:
        apply(self.seen, at, data)
        self.pending.append((at, data))

    def sync(self) -> None:
        self.safe, self.pending = bytes(self.seen), []

    def after_cut(self, chance: random.Random | None) -> bytes:
        left = bytearray(self.safe)
        for at, data in self.pending if chance else []:
            if chance and chance.random() < 0.5:
                apply(left, at, data)
        return bytes(left)


def apply(content: bytearray, at: int, data: bytes | None) -> None:
    if data is None:
        content[:] = content[:at].ljust(at, b"\0")
    else:
        content.extend(b"\0" * (at - len(content)))
        content[at : at + len(data)] = data


class Disk:
    """A folder as programs see it and as a power cut would leave it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.seen: dict[Path, File | None] = {}
        """Names; None is a folder."""
        for path in root.rglob("*"):
            if path.is_dir():
                self.seen[path] = None
            elif path.is_file():
                content = path.read_bytes()
                self.seen[path] = File(bytearray(content), content)
        self.safe = dict(self.seen)

    def call(self, name: str, words: str, result: int) -> None:
        """Do what a system call did."""
        if result < 0:
            return
        texts = [bytes.fromhex(text.replace("\\x", "")) for text in TEXT.findall(words)]
        opened = OPEN_FILE.match(words)
        path = Path(_plain(opened.group(1))) if opened else Path()
        file = self.seen.get(path)
        match name:
            case "openat":
                path = Path(os.fsdecode(texts[0]))
                if self.root in path.parents and "O_CREAT" in words and path not in self.seen:
                    self.seen[path] = File()
                elif isinstance(made := self.seen.get(path), File) and "O_TRUNC" in words:
                    made.change(0, None)
            case "mkdir" | "mkdirat":
                self.seen[Path(os.fsdecode(texts[0]))] = None
            case "unlink" | "unlinkat":
                self.seen.pop(Path(os.fsdecode(texts[0])), None)
            case "rename" | "renameat" | "renameat2":
                source, target = (Path(os.fsdecode(text)) for text in texts)
                if source in self.seen:
                    self.seen[target] = self.seen.pop(source)
            case "fsync" | "fdatasync" if file:
                file.sync()
            case "fsync" | "fdatasync":  # a folder: its names are safe, what they name is not
                here = {p: f for p, f in self.seen.items() if p.parent == path}
                self.safe = {p: f for p, f in self.safe.items() if p.parent != path} | here
            case "write" if file:
                file.change(len(file.seen), texts[0][:result])
            case "pwrite64" if file:
                file.change(int(words.rsplit(",", 1)[1]), texts[0][:result])
            case "ftruncate" if file:
                file.change(int(words.rsplit(",", 1)[1]), None)

    def cut(self, target: Path, chance: random.Random | None) -> None:
        """Write what is left into a folder; `chance` keeps part of what was not synced."""
        names = dict(self.safe)
        if chance:
            for path in sorted(self.seen.keys() ^ self.safe.keys()):
                if chance.random() < 0.5:
                    names.pop(path, None)
                    if path in self.seen:
                        names[path] = self.seen[path]
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        for path, file in sorted(names.items(), key=lambda item: len(item[0].parts)):
            place = target / path.relative_to(self.root)
            if not place.parent.is_dir():
                continue  # its folder's own name was lost
            place.mkdir() if file is None else place.write_bytes(file.after_cut(chance))


def _plain(text: str) -> str:
    return os.fsdecode(bytes.fromhex(text.replace("\\x", ""))) if text.startswith("\\x") else text


def calls(trace: Path) -> Iterator[tuple[str, str, int]]:
    """Finished system calls in the order of their end."""
    begun: dict[str, str] = {}
    for line in trace.read_text("ascii").splitlines():
        if found := BEGUN.match(line):
            begun[found.group(1)] = f"{found.group(1)} {found.group(2)}"
            continue
        if found := GONE_ON.match(line):
            line = begun.pop(found.group(1), "") + found.group(2)
        if found := LINE.match(line):
            yield found.group(1), found.group(2), int(found.group(3))


def submit(url: str, token: str, number: int) -> dict[str, Any]:
    """A receipt for a film of its own."""
    film = cli.sample_film().read_bytes() + f"power cut {number}".encode()
    answer = requests.post(
        f"{url}/api/v1/cases",
        headers={"Authorization": f"Bearer {token}", "Idempotency-Key": f"power-cut-{number}"},
        files={"image": ("film.jpg", film), "case": (None, '{"crew_pre_ktas": 3}')},
        timeout=60,
    )
    assert answer.status_code == 201, answer.text
    receipt: dict[str, Any] = answer.json()
    assert receipt["image_sha256"] == hashlib.sha256(film).hexdigest()
    return receipt


def test_a_receipt_survives_a_power_cut_anywhere(
    tmp_path: Path, request: pytest.FixtureRequest, long_run: bool
):
    strace = shutil.which("strace")
    if not strace:
        pytest.skip("strace is not on this machine (Debian: apt-get install strace)")
    seed = request.config.getoption("--seed") or random.randrange(10**6)
    print(f"seed {seed} (replay with --seed {seed})")
    home = tmp_path / "home"
    settings = supervised.settle(Settings(data_dir=home, min_free_bytes=1), first_port=8600)
    migrate.upgrade(settings)
    tokens = cli.prepare(settings).tokens
    disk, trace = Disk(home), tmp_path / "trace"
    port = supervised.port_of(settings.public_url)
    # Its log lies beside the data folder, so that only what counts is traced.
    command = [
        *(strace, "-f", "-qq", "-y", "-xx", "-s", "9999999", "-o", trace, "-e", f"trace={CALLS}"),
        *(sys.executable, "-m", "gunicorn", "--no-control-socket", "--chdir", ROOT),
        *("-c", "python:web.gunicorn_gateway", "--bind", f"127.0.0.1:{port}"),
        "web.app:create_app()",
    ]
    with running(command, settings, "gateway") as process:
        until(lambda: answers(settings.public_url), process, log_of(settings, "gateway"))
        count = 40 if long_run else 3
        receipts = [submit(settings.public_url, tokens.crew, number) for number in range(count)]
        # Not strace, which would let it go: a door has a last thing to write, too.
        [gateway] = psutil.Process(process.pid).children()
        gateway.terminate()
        process.wait(60)
    ours = "".join(f"\\x{byte:02x}" for byte in os.fsencode(home))
    chance, sent, cuts = random.Random(seed), 0, 0
    left = tmp_path / "left"
    for name, words, result in calls(trace):
        if name == "sendto":
            texts = TEXT.search(words)
            sent += ANSWER in bytes.fromhex(texts.group(1).replace("\\x", "")) if texts else 0
        elif str(home) not in words and ours not in words:
            continue  # no file of ours: nothing can be lost by it
        else:
            disk.call(name, words, result)
        for part in (None, chance):
            disk.cut(left, part)
            holds(left, receipts[:sent])
            cuts += 1
    print(f"{cuts} cuts, {sent} receipts")
    assert sent == len(receipts)
    assert cuts > 40 * sent
    disk.cut(left, None)
    assert (left / "goldentime.sqlite3").read_bytes() == (home / "goldentime.sqlite3").read_bytes()


def answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthz", timeout=1).ok
    except requests.RequestException:
        return False


def holds(left: Path, receipts: list[dict[str, Any]]) -> None:
    """The database is whole after its own recovery; it and the store know each receipt."""
    connection = sqlite3.connect(left / "goldentime.sqlite3")
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        stored = dict(connection.execute("SELECT case_id, sha256 FROM images").fetchall())
    finally:
        connection.close()
    for receipt in receipts:
        case = UUID(receipt["case_id"]).hex
        assert stored.get(case) == receipt["image_sha256"], f"the row of {case} is lost"
        film = left / "images" / case[:2] / case / receipt["image_sha256"]
        assert film.is_file(), f"the film of {case} is lost"
        assert hashlib.sha256(film.read_bytes()).hexdigest() == receipt["image_sha256"]
