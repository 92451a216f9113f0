"""gunicorn's settings for the gateway; the address to bind comes from the command line."""

from __future__ import annotations

from typing import Any

from web import assets, gunicorn_worker
from web.gunicorn_worker import (
    post_fork as post_fork,
    when_ready as when_ready,
    worker_exit as worker_exit,
)

workers = 2
worker_class = "gthread"
threads = 16
timeout = 30
graceful_timeout = 30
keepalive = 5
max_requests = 20_000  # a new worker imports for 1.4 s of a core, which calls in hand have to share
max_requests_jitter = 2_000
preload_app = False
worker_tmp_dir = "/dev/shm"
header_map = "drop"
control_socket_disable = True
accesslog = None


def post_worker_init(worker: Any) -> None:
    """As every worker, and with the pages' files in hand; gunicorn calls it by name."""
    gunicorn_worker.post_worker_init(worker)
    assets.head_start()
