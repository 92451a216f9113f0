"""What pip installs: all that the rooms need, the command, and the workers' own task list."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import redis
import yaml
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from broker import embedded
from broker.celery_app import KEY_PREFIX, make_celery
from broker.errors import BadSetting
from broker.queues import Task
from broker.settings import Settings
from tests import servers

ROOT = Path(__file__).parents[2]
ROOMS = ("broker", "dispatch", "migrations", "models", "web", "workers")


def run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


def test_the_workers_register_exactly_the_tasks_of_the_table() -> None:
    """In a process of its own, which must not load what may not be forked (onnxruntime)."""
    done = run(
        "-c",
        "import json, sys; from workers.app import app; app.loader.import_default_modules();"
        "print(json.dumps([[t for t in app.tasks if not t.startswith('celery.')],"
        " [m for m in ('onnxruntime', 'torch', 'flask') if m in sys.modules]]))",
    )
    assert done.returncode == 0, done.stderr
    tasks, loaded = json.loads(done.stdout.splitlines()[-1])
    assert set(tasks) == {task.value for task in Task}
    assert loaded == []


def test_the_wheel_carries_every_file_of_the_rooms(tmp_path: Path) -> None:
    """Weights, samples, pages and migrations are data: setup.cfg must name them."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    wanted = [name for name in listed if name.partition("/")[0] in ROOMS]
    for name in [*wanted, "setup.cfg", "pyproject.toml", "README.md", "LICENSE"]:
        if (ROOT / name).exists():
            (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / "source" / name)
    done = run(
        *("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"),
        *("--wheel-dir", str(tmp_path), str(tmp_path / "source")),
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("goldentime-*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    assert sorted({name for name in wanted if (ROOT / name).exists()} - packed) == []
    assert not [name for name in packed if name.startswith("tests/")]


def test_the_installed_command_lists_what_it_can_do() -> None:
    try:
        version = metadata.version("goldentime")
    except metadata.PackageNotFoundError:
        if os.environ.get("CI") == "true":
            pytest.fail("goldentime is not installed in this environment")
        pytest.skip("goldentime is not installed here: make test installs it")
    shown = run("-m", "broker.command", "--help")
    assert shown.returncode == 0, shown.stderr
    for name in ("demo", "evaluate", "migrate", "read", "train"):
        assert f"\n  {name} " in shown.stdout
    assert "(not installed)" not in shown.stdout
    assert run("-m", "broker.command", "--version").stdout == f"goldentime {version}\n"
    assert run("-m", "broker.command", "nothing").returncode == 2


def test_composes_redis_lets_our_user_ring_and_nobody_else(tmp_path: Path) -> None:
    """The very command of docker-compose.yml, on a port of its own."""
    try:
        binary = embedded.redis_binary()
    except BadSetting as error:
        pytest.fail(error.message) if os.environ.get("CI") == "true" else pytest.skip(error.message)
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    shell = compose["services"]["redis"]["command"][-1].replace("$$", "$")
    port = servers.free_port()
    own = f"exec {binary} --bind 127.0.0.1 --port {port} --dir {tmp_path}"
    server = servers.start(
        ["/bin/sh", "-c", "REDIS_PASSWORD=sEcret9; " + shell.replace("exec redis-server", own)],
        log=tmp_path / "redis.log",
    )
    try:
        url = f"redis://goldentime:sEcret9@127.0.0.1:{port}/0"
        with redis.Redis.from_url(url, retry=_patient()) as ours:
            assert ours.ping()
            with make_celery(Settings(redis_url=url)) as app:
                app.send_task(Task.CLASSIFY.value, args=["an-id"])
                with app.connection_for_read() as connection:
                    queue = connection.SimpleQueue(Task.CLASSIFY.value)
                    message = queue.get(timeout=5)
                    message.ack()
                    queue.close()
            assert message.payload[0] == ["an-id"]
            assert ours.set(f"{KEY_PREFIX}x", 1)
            with pytest.raises(redis.exceptions.NoPermissionError):
                ours.set("not-ours", 1)
            with pytest.raises(redis.exceptions.NoPermissionError):
                ours.flushall()
        with redis.Redis(port=port) as anybody, pytest.raises(redis.AuthenticationError):
            anybody.ping()
    finally:
        servers.stop(server, signal.SIGTERM)


def _patient() -> Retry:
    """Tries for some seconds, until the server is there."""
    return Retry(ConstantBackoff(0.1), retries=100)
