"""Each safeguard matters: without it, the test that guards it goes red (`make long`).

One safeguard at a time is taken out of a copy of the tree; the copy's own tests are run there. The
working tree is never touched.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("broker", "dispatch", "migrations", "models", "tests", "web", "workers")


@dataclass(frozen=True)
class Safeguard:
    """What is taken out, where, and the test that must see it."""

    name: str
    file: str
    text: str
    without: str
    test: str


SAFEGUARDS = [
    Safeguard(
        "the digest of an audit entry",
        "broker/seals.py",
        "if expected != link.digest:",
        "if False:",
        "tests/integration/test_seals.py::test_harm_is_found_and_named[sqlite-changed]",
    ),
    Safeguard(
        "the race for an audit seal's number",
        "broker/seals.py",
        "if len(written) < len(links):",
        "if False:",
        "tests/integration/test_seals.py"
        "::test_processes_that_seal_at_once_make_one_chain[postgresql]",
    ),
    Safeguard(
        "the conditional UPDATE of a case",
        "dispatch/transition.py",
        ".where(Case.id == case.id, Case.status == before, Case.version == case.version)",
        ".where(Case.id == case.id)",
        "tests/integration/test_races.py::test_accept_against_cancel_take_and_withdraw[postgresql]",
    ),
    Safeguard(
        "the fencing clause of a reading",
        "dispatch/reading.py",
        "            Reading.attempt == claim.attempt,\n",
        "",
        "tests/integration/test_leases.py::test_a_silent_workers_film_is_read_by_another[sqlite]",
    ),
    Safeguard(
        "the cap on a reading's attempts",
        "dispatch/reading.py",
        "last = reading.attempt >= settings.reading_attempts",
        "last = False",
        "tests/integration/test_leases.py"
        "::test_a_film_that_kills_its_workers_is_given_up_and_the_case_goes_on[sqlite]",
    ),
    Safeguard(
        "the reader of a pool's child",
        "workers/inference.py",
        "_reader.run(film, claim, meanwhile=renew)",
        "film(claim)",
        "tests/e2e/chaos/test_chaos.py::test_poison_dies_three_times_and_its_case_goes_on[sqlite]",
    ),
    Safeguard(
        "the end of a reader with its child",
        "workers/reader.py",
        "        end_with(parent)\n",
        "",
        "tests/integration/test_reader.py"
        "::test_a_reader_ends_with_its_child_in_the_middle_of_a_film",
    ),
    Safeguard(
        "a version of a patient that never comes again",
        "dispatch/merging.py",
        ", to=highest + 1",
        "",
        "tests/integration/test_patient_races.py"
        "::test_a_page_that_looked_at_a_tree_since_moved_is_stale[sqlite]",
    ),
    Safeguard(
        "the re-ring",
        "broker/relay.py",
        "again = now + timedelta(seconds=self.settings.sweep_s * _jitter(0.9, 1.3))",
        "again = now + timedelta(days=1)",
        "tests/integration/test_relay.py::test_what_redis_lost_is_rung_again[sqlite]",
    ),
    Safeguard(
        "the fsync before the rename",
        "broker/imagestore.py",
        "                os.fsync(file.fileno())\n            made",
        "                file.fileno()\n            made",
        "tests/integration/test_imagestore.py::test_a_put_is_durable_before_it_returns",
    ),
    Safeguard(
        "the fsync of the folder",
        "broker/imagestore.py",
        "            path.rename(folder / sha256)\n            _sync_folder(folder)\n",
        "            path.rename(folder / sha256)\n",
        "tests/integration/test_imagestore.py::test_a_put_is_durable_before_it_returns",
    ),
    Safeguard(
        "the unique index on accepted offers",
        "migrations/versions/0001_first_tables.py",
        '            ["case_id"],\n            unique=True,\n',
        '            ["case_id"],\n            unique=False,\n',
        "tests/integration/test_constraints.py::test_two_ers_can_never_hold_one_case[sqlite]",
    ),
    Safeguard(
        "the claim of a notification",
        "dispatch/notify.py",
        "            Notification.attempt == as_of_attempt,\n",
        "",
        "tests/integration/test_notify.py::test_many_that_deliver_at_once_send_it_once[postgresql]",
    ),
    Safeguard(
        "the birth of a process beside its pid",
        "broker/watchdog.py",
        "born_ticks is None or heartbeat.born_ticks(pid) != born_ticks",
        "born_ticks is None",
        "tests/integration/test_watchdog.py"
        "::test_another_process_with_the_same_pid_is_let_alone[sqlite]",
    ),
    Safeguard(
        "SQLite's fsync",
        "broker/database.py",
        "PRAGMA synchronous=FULL",
        "PRAGMA synchronous=OFF",
        "tests/e2e/chaos/test_power_cut.py::test_a_receipt_survives_a_power_cut_anywhere",
    ),
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the source and its tests."""
    folder = tmp_path_factory.mktemp("tree")
    for part in PARTS:
        shutil.copytree(
            ROOT / part,
            folder / part,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    for file in ("setup.cfg", "pyproject.toml"):
        shutil.copy(ROOT / file, folder / file)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def run(tree: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def test_the_untouched_copy_is_green(tree: Path) -> None:
    done = run(tree, *sorted({safeguard.test for safeguard in SAFEGUARDS}))
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout.splitlines()[-1], done.stdout


@pytest.mark.parametrize("safeguard", SAFEGUARDS, ids=lambda safeguard: safeguard.name)
def test_without_it_the_test_goes_red(tree: Path, safeguard: Safeguard) -> None:
    file = tree / safeguard.file
    whole = file.read_text("utf-8")
    assert whole.count(safeguard.text) == 1, f"{safeguard.file} has changed: name its text anew"
    file.write_text(whole.replace(safeguard.text, safeguard.without), "utf-8")
    try:
        done = run(tree, safeguard.test)
    finally:
        file.write_text(whole, "utf-8")
    assert done.returncode == 1, done.stdout + done.stderr
    # Red for what it guards: a broken import or fixture would be an error, not a failure.
    assert f"FAILED {safeguard.test.partition('::')[0]}" in done.stdout, done.stdout
