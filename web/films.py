"""A case's film as it is looked at: a quick picture, the whole film, a heatmap.

Every answer is written by us from pixels, never the upload, and every look is audited. What a
format means is dispatch/'s and the island's; uploads are opened in the sandbox only.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from flask import Response, request

from broker import events, sandbox
from broker.errors import ImageUnreadable, NotFound
from broker.lifecycle import ReadingKind, ReadingStatus, Role
from broker.tables import Image
from dispatch import assessing, film as films
from dispatch.export.film import film_dicom
from models import xray
from models.xray import UnreadableFilm
from web import schemas
from web.auth import actor, allow
from web.bodies import Room
from web.state import here

blueprint = Room("films", __name__, url_prefix="/api/v1", description="Films as ERs see them")
PARTIES = (Role.CREW, Role.EMERGENCY_ROOM, Role.CONTROL_ROOM)
DEEP = sandbox.Limits(memory_bytes=2 * 1024**3, cpu_s=20, time_s=20, file_bytes=128 * 1024**2)
"""A large film needs more room with all its gray levels than when it is taken in."""


@blueprint.route("/cases/<uuid:case_id>/image/preview", methods=["GET"])
@blueprint.response(200, content_type="image/jpeg")
@allow(*PARTIES)
def get_preview(case_id: UUID) -> Response:
    """The film as a progressive JPEG of at most 150 kB: what a slow line shows first."""
    return _jpeg(case_id, _looked_at(case_id, "preview"), "jpg", films.preview)


@blueprint.route("/cases/<uuid:case_id>/image/thumbnail", methods=["GET"])
@blueprint.arguments(schemas.FilmQuery, location="query")
@blueprint.response(200, content_type="image/jpeg")
@allow(*PARTIES)
def get_thumbnail(query: dict[str, Any], case_id: UUID) -> Response:
    """A film of the case, small, for lists and timelines; also one that was replaced."""
    image = _looked_at(case_id, "thumbnail", query.get("film"))
    return _jpeg(case_id, image, "small.jpg", films.thumbnail)


def _jpeg(case_id: UUID, image: Image, suffix: str, write: Callable[[str, str], None]) -> Response:
    """A picture derived from the film's rendition; made once, then kept beside it."""
    store = here().store
    rendition = store.path(case_id, image.rendition_sha256)
    jpeg = store.derived(
        case_id, image.rendition_sha256, suffix, lambda path: write(str(rendition), str(path))
    )
    return Response(jpeg, mimetype="image/jpeg")


@blueprint.route("/cases/<uuid:case_id>/image/dicom", methods=["GET"])
@blueprint.response(200, content_type="application/dicom")
@allow(*PARTIES)
def get_dicom(case_id: UUID) -> Response:
    """The film with all its gray levels, newly written: our pixels and a header without anybody."""
    store = here().store
    image = _looked_at(case_id, "dicom")
    upload = store.path(case_id, image.sha256)

    def make(path: Path) -> None:
        levels = path.with_suffix(".levels")
        try:
            shape = sandbox.run(films.deepen, str(upload), str(levels), limits=DEEP)
            written = film_dicom(levels.read_bytes(), shape, case_id, image.id)
        except UnreadableFilm as error:
            raise ImageUnreadable(str(error), reason=error.code) from error
        except sandbox.SandboxFailure as error:
            raise ImageUnreadable(error.message, reason=error.cause) from error
        finally:
            levels.unlink(missing_ok=True)
        path.write_bytes(gzip.compress(written, compresslevel=1, mtime=0))

    packed = store.derived(case_id, image.sha256, "dcm.gz", make)
    response = Response(packed, mimetype="application/dicom")
    if request.accept_encodings["gzip"] > 0:
        response.headers["Content-Encoding"] = "gzip"
    else:
        response.set_data(gzip.decompress(packed))
    response.vary.add("Accept-Encoding")
    response.headers["Content-Disposition"] = f'inline; filename="{case_id}.dcm"'
    return response


@blueprint.route("/cases/<uuid:case_id>/image/heatmap", methods=["GET"])
@blueprint.arguments(schemas.HeatmapQuery, location="query")
@blueprint.response(200, content_type="image/png")
@allow(*PARTIES)
def get_heatmap(query: dict[str, Any], case_id: UUID) -> Response:
    """Where the classifier looked for one finding: a transparent picture to lay over the film."""
    image = _looked_at(case_id, "heatmap")
    with here().record.read() as session:
        readings = session.get_one(Image, image.id).readings
        maps: dict[str, Any] = next(
            (
                (reading.model or {}).get("heatmaps", {})
                for reading in readings
                if reading.kind is ReadingKind.CLASSIFY and reading.status is ReadingStatus.DONE
            ),
            {},
        )
    if query["label"] not in maps:
        raise NotFound("the classifier kept no heatmap of this finding")
    return Response(_overlay(maps[query["label"]]), mimetype="image/png")


def _overlay(kept: dict[str, Any]) -> bytes:
    """PNG of a kept map, to be stretched over the film."""
    heat = np.frombuffer(base64.b64decode(kept["values"]), np.uint8).reshape(kept["shape"])
    return xray.encode_overlay(heat)


def _looked_at(case_id: UUID, how: str, sha256: str | None = None) -> Image:
    """The film that counts of a case that you may see, or the named one; the look is on record."""
    who = actor()
    with here().record.look() as session:
        image = assessing.film_for(session, who, case_id, sha256)
        events.audit(session, who.name, "image.viewed", case_id, how=how, film=image.sha256)
        return image
