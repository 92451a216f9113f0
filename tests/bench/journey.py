"""How long a case takes from the crew's last byte to the third ER's stream, and what it costs.

Run as `make bench` or `python -m tests.bench.journey --cases 30 --load 30`. Real processes on both
databases; beside them, in the same run, the bare networks on the same films. Cases have no pre-KTAS
level 1 or 2, so every offer waits for its readings.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from broker.settings import Settings
from models import card, phantom, xray
from models.classifier import Classifier
from models.detector import Detector
from tests.servers import database_in
from web import cli, demo, supervised
from web.supervised import Supervisor


@dataclass
class Figures:
    """One database's figures."""

    alone_s: list[float]
    under_load_s: list[float]
    cases_per_min: float
    cpu_s_per_case: float
    pss_mib: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=30, help="one after another")
    parser.add_argument("--load", type=int, default=30, help="under load, --clients at once")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--images", type=Path, help="folder of films; generated ones without it")
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"])
    options = parser.parse_args()
    films = _films(options.images)
    bare = _bare_networks_s(films)
    print(f"bare networks, 1 thread: p50 {_p(bare, 50):.3f} s, p95 {_p(bare, 95):.3f} s per film")
    summary: dict[str, object] = {"bare_networks_p50_s": round(_p(bare, 50), 4)}
    with tempfile.TemporaryDirectory(prefix="gt-bench-") as folder:
        Path(folder).chmod(0o711)
        for database in options.databases:
            figures = _measure(Path(folder), database, films, options)
            own_cpu = figures.cpu_s_per_case - statistics.mean(bare)
            summary[database] = {
                "p50_s": round(_p(figures.alone_s, 50), 3),
                "p95_s": round(_p(figures.alone_s, 95), 3),
                "p50_over_bare": round(_p(figures.alone_s, 50) / _p(bare, 50), 2),
                "load_p50_s": round(_p(figures.under_load_s, 50), 3),
                "load_p95_s": round(_p(figures.under_load_s, 95), 3),
                "cases_per_min": round(figures.cases_per_min, 1),
                "cpu_s_per_case_outside_onnxruntime": round(own_cpu, 3),
                "pss_mib": round(figures.pss_mib),
            }
            print(f"{database}: {summary[database]}")
    print(json.dumps(summary))


def _measure(
    folder: Path, database: str, films: Sequence[bytes], options: argparse.Namespace
) -> Figures:
    data = folder / database
    data.mkdir()
    with database_in(folder, database, fsync=True) as url:
        settings = supervised.settle(
            Settings(data_dir=data, database_url=url, min_free_bytes=1),
            first_port=8700,
        )
        with supervised.running(settings) as supervisor:
            city = _City(settings)
            city.case(films[0])  # loads the networks
            cpu, began = _cpu_s(supervisor), time.monotonic()
            alone = [city.case(films[n % len(films)]) for n in range(options.cases)]
            cpu_per_case = (_cpu_s(supervisor) - cpu) / options.cases
            began = time.monotonic()
            with ThreadPoolExecutor(options.clients) as pool:
                loaded = list(
                    pool.map(city.case, (films[n % len(films)] for n in range(options.load)))
                )
            rate = options.load / (time.monotonic() - began) * 60
            return Figures(alone, loaded, rate, cpu_per_case, _pss_mib(supervisor))


class _City:
    """The demo city's clients: one crew, all ERs listening."""

    def __init__(self, settings: Settings) -> None:
        people = cli.prepare(settings)
        self._crew = demo.Client(settings.public_url, settings.stream_url, people.tokens.crew)
        self._offers: dict[str, list[float]] = {}
        self._news = threading.Condition()
        for token in people.tokens.emergency_rooms.values():
            room = demo.Client(settings.public_url, settings.stream_url, token)
            threading.Thread(target=self._listen, args=(room,), daemon=True).start()
        time.sleep(1.0)

    def _listen(self, room: demo.Client) -> None:
        for at, entry in room.events(0):
            if entry["type"] == "offer.requested":
                with self._news:
                    self._offers.setdefault(entry["case_id"], []).append(at)
                    self._news.notify_all()

    def case(self, film: bytes) -> float:
        """Seconds from the start of sending (the last byte follows in about 1 ms on loopback)
        to the third offer on an ER's stream; then the case is cancelled."""
        began = time.monotonic()
        receipt = self._crew.call(
            "POST",
            "/cases",
            headers={"Idempotency-Key": str(uuid4())},
            files={"image": ("film", film), "case": (None, json.dumps(demo.CASE))},
        )
        case_id = receipt["case_id"]
        with self._news:
            if not self._news.wait_for(lambda: len(self._offers.get(case_id, [])) >= 3, 60):
                raise SystemExit(f"case {case_id} had no three offers within 60 s")
            third = sorted(self._offers[case_id])[2]
        self._crew.call("POST", f"/cases/{case_id}/cancel", json={"reason": "bench"})
        return third - began


def _films(folder: Path | None) -> list[bytes]:
    if folder:
        return [path.read_bytes() for path in sorted(folder.iterdir())[:16]]
    return [xray.encode_png(phantom.phantom(seed=n, size_px=1024).pixels) for n in range(8)]


def _bare_networks_s(films: Sequence[bytes]) -> list[float]:
    """Both networks one after the other on one thread, without decoding."""
    classifier = Classifier(card.load(card.shipped(card.ModelKind.CLASSIFY)), threads=1)
    detector = Detector(card.load(card.shipped(card.ModelKind.DETECT)), threads=1)
    seconds = []
    for film in [films[0], *films, *films]:
        pixels = xray.decode(film).pixels
        began = time.perf_counter()
        classifier.read(pixels)
        detector.read(pixels)
        seconds.append(time.perf_counter() - began)
    return seconds[1:]


def _p(values: Sequence[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]


def _family(supervisor: Supervisor) -> list[int]:
    """Every process that descends from the supervisor's parts (forkserver children too)."""
    parents: dict[int, int] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(process.name)] = int(
                (process / "stat").read_text().rsplit(")", 1)[1].split()[1]
            )
        except OSError:
            continue
    family = set(supervisor.pids().values())
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return sorted(family & parents.keys())


def _cpu_s(supervisor: Supervisor) -> float:
    """User and system time of the family, ended children included."""
    ticks = 0
    for pid in _family(supervisor):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        ticks += sum(int(value) for value in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def _pss_mib(supervisor: Supervisor) -> float:
    kib = 0
    for pid in _family(supervisor):
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        kib += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kib / 1024


if __name__ == "__main__":
    main()
