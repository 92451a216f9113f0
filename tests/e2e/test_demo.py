"""`goldentime demo` as a newcomer runs it: one JSON object at the end, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

COMMAND = [sys.executable, "-m", "broker.command", "demo"]


def _run(*words: str, limit_s: float = 150) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words], capture_output=True, text=True, timeout=limit_s, check=False
    )


def _left_behind(folder: Path) -> list[str]:
    """Command lines of processes that still hold the demo's data folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
            if str(folder).encode() in environment:
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def test_once_prints_one_json_object_and_stops_everything(tmp_path: Path) -> None:
    """A busy port is avoided and the new one printed."""
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        done = _run("--once", "--data-dir", str(tmp_path), "--port", str(port))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"port {port} is busy; using" in done.stdout
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["status"] == "acknowledged"
    assert set(last) == {"case_id", "status", "offers", "timings_s"}
    assert _left_behind(tmp_path) == []


def test_what_goes_wrong_is_said(tmp_path: Path, first_port: int) -> None:
    missing = _run("--once", "--data-dir", str(tmp_path), "--image", str(tmp_path / "no.png"))
    assert missing.returncode != 0
    assert "no.png is not a file" in missing.stderr
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n cut")
    port = ("--port", str(first_port))
    done = _run("--once", "--data-dir", str(tmp_path), "--image", str(broken), *port)
    assert done.returncode != 0
    assert "image_unreadable" in done.stderr
    assert "Traceback" not in done.stderr
    assert _left_behind(tmp_path) == []


def test_ctrl_c_stops_every_process(tmp_path: Path, first_port: int) -> None:
    log = tmp_path / "out.txt"
    with log.open("w") as out:
        running = subprocess.Popen(
            [*COMMAND, "--data-dir", str(tmp_path / "data"), "--port", str(first_port)],
            stdout=out,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        until = time.monotonic() + 150
        while "Ctrl-C stops everything" not in log.read_text():
            assert running.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.5)
        shown = log.read_text()
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 0, log.read_text()
    for screen in ("/crew", "/er", "/operations"):
        assert screen in shown
    assert _left_behind(tmp_path / "data") == []
