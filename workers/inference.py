"""Tasks `classify` and `detect`: claim the most urgent film, have it read, write what was found.

Claims and results are this child's, pixels and networks its reader's (reader.py). The networks load
on first use, or before the pool forks (warm); nothing about cases is decided here.
"""

from __future__ import annotations

import base64
import gc
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celery import Celery

from broker import logs
from broker.errors import BadSetting, DatabaseBusy, GoldentimeError, LeaseLost
from broker.lifecycle import ReadingKind
from broker.queues import Queue, Task
from broker.settings import Settings
from dispatch import reading
from dispatch.reading import Claim, Found
from models import card, xray
from models.card import BadCard
from models.operating import BadPrevalence, Operating, read_prevalence
from workers.process import Process, process
from workers.reader import Reader, as_logged
from workers.singing import sample, sing

if TYPE_CHECKING:
    from models.classifier import Classifier
    from models.detector import Detector
    from models.network import Floats

Outcome = tuple[list[Found], dict[str, Any], dict[str, float]]
"""What was found, by which model (and what its scores mean), in how many seconds."""
Read = Callable[[Claim, Callable[[], None]], Outcome]
"""Reads a claimed film, and renews its lease from time to time."""
_reader = Reader()


def check_site_prevalence(settings: Settings) -> None:
    """Raise BadSetting unless the site's prevalence, if set, can be read and fits the classifier
    that serves; for the start of a worker, so that nobody learns it from a failed reading.
    """
    if settings.site_prevalence is None:
        return
    try:
        served = card.load(settings.classifier or card.shipped(card.ModelKind.CLASSIFY))
        Operating(served, read_prevalence(settings.site_prevalence))
    except (BadPrevalence, BadCard) as error:
        raise BadSetting(
            f"GOLDENTIME_SITE_PREVALENCE={settings.site_prevalence}: {error}"
        ) from error


def register(app: Celery) -> None:
    """Give the app its two reading tasks."""

    @app.task(name=Task.CLASSIFY.value)
    def classify(reading_id: str) -> None:
        work(ReadingKind.CLASSIFY, UUID(reading_id), _by_the_reader(classify_film))

    @app.task(name=Task.DETECT.value)
    def detect(reading_id: str) -> None:
        work(ReadingKind.DETECT, UUID(reading_id), _by_the_reader(detect_film))

    @app.task(name=Task.CANARY_CLASSIFY.value)
    def canary_classify(sent_at: str) -> None:
        sing(Queue.CLASSIFY, sent_at, lambda: _reader.run(_read_sample, ReadingKind.CLASSIFY))

    @app.task(name=Task.CANARY_DETECT.value)
    def canary_detect(sent_at: str) -> None:
        sing(Queue.DETECT, sent_at, lambda: _reader.run(_read_sample, ReadingKind.DETECT))


def start_reader(kinds: Iterable[ReadingKind]) -> None:
    """Fork this child's reader, with the networks of its kinds in hand, before the first film."""

    def load() -> None:
        process().record.forked()
        for kind in kinds:
            warm(kind)

    gc.freeze()  # or each fork's collector would look through, and so copy, all of it
    _reader.start(load)


def warm(kind: ReadingKind) -> None:
    """Load the network that serves, before the first film needs it; a fault is that film's."""
    try:
        _served(kind)
    except Exception:  # whatever is wrong with it, each reading says so and is counted
        logs.logger().error(
            "a network cannot be loaded", action="reading.no_network", exc_info=True
        )


def work(kind: ReadingKind, rung: UUID, read: Read) -> None:
    """Answer the bell of one reading: whichever film of this kind is most urgent, if any waits."""
    mine = process()
    mine.tuned.refresh()
    log = logs.logger().bind(kind=kind.value)
    claim = mine.record.again(lambda s: reading.claim(s, mine.settings, kind, mine.owner))
    if claim is None:
        return
    if claim.reading_id != rung:
        with suppress(DatabaseBusy):  # the sweep rings for it then
            mine.record.again(lambda s: reading.ring_again(s, rung))
    log = log.bind(case_id=str(claim.case_id), attempt=claim.attempt)
    try:
        try:
            found, model, seconds = read(claim, lambda: _renew(mine, claim))
        except LeaseLost:
            raise
        except Exception as error:  # any fault of a network is this reading's, not the worker's
            # Whatever went wrong is the reading's outcome, written down; Celery must forget it.
            code = error.code if isinstance(error, GoldentimeError) else "reading_failed"
            told = as_logged(error)
            log.warning("a reading failed", action="reading.failed", code=code, **told)
            message = told["error"]
            mine.record.again(lambda s: reading.failed(s, mine.settings, claim, code, message))
        else:
            mine.record.again(
                lambda s: reading.done(s, mine.settings, claim, found, model, seconds)
            )
            log.info("read", action="reading.done", **seconds)
    except LeaseLost:
        log.warning("another worker took this reading over", action="reading.lease_lost")
    except DatabaseBusy:
        log.warning("the database is busy; the lease will run out", action="reading.busy")


def _renew(mine: Process, claim: Claim) -> None:
    with suppress(DatabaseBusy):  # the lease may still be ours when the database answers again
        mine.record.again(lambda s: reading.renew(s, mine.settings, claim))


def _by_the_reader(film: Callable[[Claim], Outcome]) -> Read:
    return lambda claim, renew: _reader.run(film, claim, meanwhile=renew)


def _read_sample(kind: ReadingKind) -> None:
    _served(kind).read(sample())


def classify_film(claim: Claim) -> Outcome:
    """Label scores of the claimed film, best first; in the reader."""
    mine = process()
    classifier = _classifier(
        claim.model_version, mine.settings.inference_threads, mine.settings.site_prevalence
    )
    result = classifier.read(
        xray.decode(mine.store.get(claim.case_id, claim.rendition_sha256)).pixels
    )
    found = [
        Found(label, score, label in result.above_threshold)
        for label, score in sorted(result.scores.items(), key=lambda item: -item[1])
    ]
    model: dict[str, Any] = {**classifier.card.identity(), **classifier.operating.described()}
    if result.prediction_set is not None:
        model["prediction_set"] = asdict(result.prediction_set)
    if result.cams is not None:
        shown = dict.fromkeys((*result.top3, *result.above_threshold))
        model["heatmaps"] = {label: _heatmap(result.cams[label]) for label in shown}
    return found, model, dict(result.seconds)


def _heatmap(cam: Floats) -> dict[str, Any]:
    """A class activation map as it is kept: 256 steps between its own lowest and highest value."""
    low, high = float(cam.min()), float(cam.max())
    steps = ((cam - low) / max(high - low, 1e-6) * 255).round().astype("uint8")
    return {"shape": list(steps.shape), "values": base64.b64encode(steps.tobytes()).decode()}


def detect_film(claim: Claim) -> Outcome:
    """Boxes of the claimed film, in pixels of the original; in the reader."""
    mine = process()
    detector = _detector(claim.model_version, mine.settings.inference_threads)
    result = detector.read(
        xray.decode(mine.store.get(claim.case_id, claim.rendition_sha256)).pixels
    )
    found = [
        Found(
            box.label,
            box.score,
            box.score >= detector.card.thresholds[box.label],
            (
                box.x0 * claim.scale_x,
                box.y0 * claim.scale_y,
                box.x1 * claim.scale_x,
                box.y1 * claim.scale_y,
            ),
        )
        for box in result.boxes
    ]
    return found, detector.card.identity(), dict(result.seconds)


# Threads that a parent started do not survive a fork: workers/app.py says when a network may.
@cache
def _classifier(name: str, threads: int, site_prevalence: Path | None) -> Classifier:
    from models.classifier import Classifier

    return Classifier(
        card.load(name or card.shipped(card.ModelKind.CLASSIFY)),
        threads=threads,
        site_prevalence=read_prevalence(site_prevalence) if site_prevalence else None,
    )


@cache
def _detector(name: str, threads: int) -> Detector:
    from models.detector import Detector

    return Detector(card.load(name or card.shipped(card.ModelKind.DETECT)), threads=threads)


def _served(kind: ReadingKind) -> Classifier | Detector:
    settings = process().settings
    if kind is ReadingKind.DETECT:
        return _detector(settings.detector, settings.inference_threads)
    return _classifier(settings.classifier, settings.inference_threads, settings.site_prevalence)
