"""The Celery app that worker processes load: `celery -A workers.app worker -Q classify`.

Imports the tasks; holds no work itself.
"""

from __future__ import annotations

import gc
import os
from typing import Any

from celery.signals import celeryd_init, setup_logging, worker_process_init, worker_ready

from broker import logs, settings
from broker.celery_app import make_celery
from broker.errors import BadSetting
from broker.lifecycle import ReadingKind
from broker.parent import end_with
from broker.queues import Task
from dispatch import rules
from workers import dispatching, inference
from workers.children import Children
from workers.life import Life
from workers.process import process

MAIN = os.getpid()
READS: set[ReadingKind] = set()
"""What this worker reads, by the queues that it was started for."""
REAP_S = 0.1
"""How often a pool looks for a child that ended."""

app = make_celery(settings.from_env())
inference.register(app)
dispatching.register(app)


@celeryd_init.connect
def refuse_unfit_files(options: Any, **_: object) -> None:
    """A worker does not start with triage rules, or a site's prevalence, that fit nothing."""
    queues = options.get("queues") or [Task.CLASSIFY.value]
    chosen = settings.from_env()
    try:
        rules.load(chosen.triage_rules)
        READS.update(kind for kind in ReadingKind if kind.value in queues)
        if ReadingKind.CLASSIFY in READS:
            inference.check_site_prevalence(chosen)
    except BadSetting as error:
        raise SystemExit(f"goldentime: {error}") from None  # Celery swallows exceptions here
    if chosen.inference_threads == 1:
        # A network without threads of its own survives the fork: who steps into a dead child's
        # place can read at once, and all children share one network's memory. onnxruntime's import
        # leaves one thread behind that a child lacks; an orderly exit of the interpreter would wait
        # for it, which billiard's children never make (os._exit).
        logs.set_up(chosen, "worker")
        for kind in READS:
            inference.warm(kind)


@worker_process_init.connect
def _take_over(**_: object) -> None:
    if os.getpid() != MAIN:
        end_with(MAIN)
        process().record.forked()
    if READS:
        inference.start_reader(READS)  # the pool hands a child its first film when this is done


@worker_ready.connect
def _look_after(sender: Any, **_: object) -> None:
    """The pool's own event loop makes its sign of life and looks after its children."""
    Life(process(), sender).start()
    # The pool hears of a child's end a moment before the kernel lets it be reaped, looks in vain,
    # and would look again after 5 s: all that time nobody reads (celery 5.7, issue 9588).
    children = Children(process(), READS, lambda: sender.pool.info["processes"])

    def reap() -> None:
        sender.pool.maintain_pool()
        children.look()

    sender.timer.call_repeatedly(REAP_S, reap)
    children.take_stock()


@worker_ready.connect
def _leave_imports_out_of_garbage(**_: object) -> None:
    """Celery collects garbage before it forks a child in a dead one's place: a tenth of a second
    over all that was imported. What lives by now lives as long as the pool, once is enough.
    """
    gc.collect()
    gc.freeze()


@setup_logging.connect
def _log(**_: object) -> None:
    logs.set_up(settings.from_env(), "worker")
