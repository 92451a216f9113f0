"""A site's prevalence at the start of the workers: fit, or told at once by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from broker.errors import BadSetting
from broker.settings import Settings, from_env
from models import card as cards
from workers import inference

ROOT = Path(__file__).parents[2]
SHARES = dict.fromkeys(cards.NIH_LABELS, 0.03)


def site(folder: Path, **changes: object) -> Path:
    path = folder / "prevalence.json"
    path.write_text(json.dumps(SHARES | changes))
    return path


def test_a_fitting_prevalence_passes_and_none_needs_no_weight(tmp_path: Path) -> None:
    path = site(tmp_path)
    chosen = from_env({"GOLDENTIME_SITE_PREVALENCE": str(path)})
    assert chosen.site_prevalence == path
    inference.check_site_prevalence(chosen)
    inference.check_site_prevalence(Settings(classifier="nowhere"))


@pytest.mark.parametrize(
    ("changes", "complaint"), [({"Hernia": 0}, "Hernia is 0"), ({"Wart": 0.1}, "names Wart")]
)
def test_one_that_fits_nothing_is_refused_with_its_setting(
    tmp_path: Path, changes: dict[str, float], complaint: str
) -> None:
    path = site(tmp_path, **changes)
    with pytest.raises(BadSetting, match=complaint) as refused:
        inference.check_site_prevalence(Settings(site_prevalence=path))
    assert f"GOLDENTIME_SITE_PREVALENCE={path}" in str(refused.value)


def test_a_classifying_worker_does_not_start_with_it(tmp_path: Path) -> None:
    env = os.environ | {
        "GOLDENTIME_SITE_PREVALENCE": str(site(tmp_path, Hernia=2)),
        "GOLDENTIME_REDIS_URL": "redis://127.0.0.1:1/0",
        "GOLDENTIME_DATA_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "workers.app", "worker", "-Q", "classify"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "GOLDENTIME_SITE_PREVALENCE" in done.stderr
    assert "Hernia is 2" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_dispatching_worker_starts_and_cases_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workers import app

    monkeypatch.setenv("GOLDENTIME_SITE_PREVALENCE", str(site(tmp_path, Hernia=2)))
    app.refuse_unfit_files(options={"queues": ["dispatch"]})
    for queues in (["classify"], ["dispatch", "classify"], None):
        with pytest.raises(SystemExit, match="Hernia is 2"):
            app.refuse_unfit_files(options={"queues": queues})


@pytest.mark.parametrize("queue", ["dispatch", "classify", "detect"])
def test_no_process_starts_with_triage_rules_that_fit_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, queue: str
) -> None:
    from broker.errors import BadSetting
    from broker.settings import from_env
    from web.app import create_app
    from workers import app
    from workers.upkeep import Upkeep

    file = tmp_path / "rules.toml"
    file.write_text("[about]\nversion = 1\n", encoding="utf-8")
    monkeypatch.setenv("GOLDENTIME_TRIAGE_RULES", str(file))
    told = r"rules\.toml: \[about\]: version: a text"
    with pytest.raises(SystemExit, match=told):
        app.refuse_unfit_files(options={"queues": [queue]})
    for start in (create_app, Upkeep):
        with pytest.raises(BadSetting, match=told):
            start(from_env())
