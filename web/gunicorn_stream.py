"""gunicorn's settings for the stream: every stream holds a thread, so there are many of them."""

from __future__ import annotations

from web.gunicorn_worker import (
    post_fork as post_fork,
    post_worker_init as post_worker_init,
    when_ready as when_ready,
    worker_exit as worker_exit,
)

workers = 1
worker_class = "gthread"
threads = 256
timeout = 30
graceful_timeout = 5
keepalive = 5
preload_app = False
worker_tmp_dir = "/dev/shm"
header_map = "drop"
control_socket_disable = True
accesslog = None
