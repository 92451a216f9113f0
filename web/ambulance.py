"""The crew's door: submit a case, add a film, follow it, acknowledge, drive, arrive, cancel."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID, uuid4

from flask import request

from broker.errors import (
    Conflict,
    IdempotencyKeyMissing,
    IdempotencyKeyReused,
    Invalid,
    StorageFull,
)
from broker.lifecycle import TERMINAL_CASES, Role
from dispatch import access, elsewhere, instructions, intake, offers, transport, uploads
from dispatch.access import Actor
from dispatch.intake import Film, Receipt, Submission
from web import schemas
from web.auth import actor, allow
from web.bodies import Room, case_text, one_image, strict_json, whole_body
from web.presenting import case_picture, offer_picture
from web.state import State, here
from web.uploads import open_whole

blueprint = Room("ambulance", __name__, url_prefix="/api/v1", description="What a crew does")

KEY_LENGTH = (8, 100)
MULTIPART: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {
                    "image": {
                        "type": "string",
                        "format": "binary",
                        "description": "PNG, JPEG or DICOM (CR, DX), at most 32 MiB as shipped",
                    },
                    "case": {"$ref": "#/components/schemas/CaseIn"},
                },
            },
            "encoding": {"case": {"contentType": "application/json"}},
        },
        "application/json": {"schema": {"$ref": "#/components/schemas/CaseIn"}},
    },
}
IMAGE_ONLY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["image"],
                "properties": {"image": {"type": "string", "format": "binary"}},
            }
        },
        "application/json": {"schema": {"$ref": "#/components/schemas/ImageIn"}},
    },
}
KEY_HEADER: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "schema": {"type": "string", "minLength": KEY_LENGTH[0], "maxLength": KEY_LENGTH[1]},
    "description": "New for each new case; the same key gives the same answer",
}


@blueprint.route("/cases", methods=["POST"])
@blueprint.doc(requestBody=MULTIPART, parameters=[KEY_HEADER])
@blueprint.response(201, schemas.ReceiptOut)
@allow(Role.CREW)
def submit_case() -> Receipt:
    """Submit a case; 201 means that it is stored and will not be lost."""
    state, who, key = here(), actor(), idempotency_key()
    submission, named_sha256 = read_case()
    file = one_image(required=False)
    if file and named_sha256:
        raise Invalid("send a film or name an uploaded one, not both", field="image_sha256")
    if named_sha256 and (earlier := known(state, who, key, submission, named_sha256)):
        return earlier  # its upload is used up
    if file is None and named_sha256 is None:
        return state.record.again(
            lambda s: intake.submit(s, state.settings, who, key, submission, None, uuid4())
        )
    state.store.check_room()
    with state.store.incoming() as paths:
        upload_id = None
        if file:
            film = intake.open_upload(state.store, cast(Any, file.stream), paths)
            if earlier := known(state, who, key, submission, film.sha256):
                return earlier
        else:
            assert named_sha256 is not None
            film, upload_id = open_whole(state, who, named_sha256, paths)
        return keep_and_submit(state, who, key, submission, film, upload_id)


def keep_and_submit(
    state: State, who: Actor, key: str, submission: Submission, film: Film, upload_id: UUID | None
) -> Receipt:
    """Make the film durable, then write the rows; what no row speaks of is removed again."""
    case_id = uuid4()

    def unit(session: Any) -> Receipt:
        receipt = intake.submit(session, state.settings, who, key, submission, film, case_id)
        if upload_id:
            uploads.forget(session, upload_id)
        return receipt

    try:
        intake.keep(state.store, case_id, film)
        receipt = state.record.again(unit)
    except (StorageFull, IdempotencyKeyReused):  # half kept; by another body, a moment earlier
        state.store.delete(case_id)
        raise
    if receipt.case_id != case_id:
        state.store.delete(case_id)  # the same submission, a moment earlier
    if upload_id:
        state.partials.delete(upload_id)
    return receipt


@blueprint.route("/cases/<uuid:case_id>/image", methods=["PUT"])
@blueprint.doc(requestBody=IMAGE_ONLY)
@blueprint.response(200, schemas.ReceiptOut)
@allow(Role.CREW)
def put_image(case_id: UUID) -> Receipt:
    """Add a film to a case, or replace it; as a file, or named when it was uploaded in pieces."""
    state, who = here(), actor()
    named_sha256 = None
    if request.is_json:
        named_sha256 = schemas.ImageIn().load(strict_json(whole_body()))["image_sha256"]
    with state.record.read() as session:
        case = access.case(session, who, case_id)
        if named_sha256 in {image.sha256 for image in case.images}:
            return intake.receipt(session, case)  # its upload is used up
        if case.status in TERMINAL_CASES:  # add_image asks again; here before bytes are stored
            raise Conflict(f"the case is {case.status}", status=str(case.status))
    file = None if named_sha256 else one_image(required=True)
    state.store.check_room()
    with state.store.incoming() as paths:
        upload_id = None
        if file:
            film = intake.open_upload(state.store, cast(Any, file.stream), paths)
        else:
            assert named_sha256 is not None
            film, upload_id = open_whole(state, who, named_sha256, paths)
        intake.keep(state.store, case_id, film)

        def unit(session: Any) -> Receipt:
            receipt = intake.add_image(session, state.settings, who, case_id, film)
            if upload_id:
                uploads.forget(session, upload_id)
            return receipt

        receipt = state.record.again(unit)
    if upload_id:
        state.partials.delete(upload_id)
    return receipt


@blueprint.route("/cases/<uuid:case_id>/instructions/seen", methods=["POST"])
@blueprint.response(200, schemas.CaseOut)
@allow(Role.CREW)
def saw_instructions(case_id: UUID) -> dict[str, Any]:
    """The crew read what the ER asks for; the ER is told."""
    state, who = here(), actor()

    def unit(session: Any) -> dict[str, Any]:
        instructions.seen(session, who, case_id)
        return case_picture(session, state.settings, who, access.case(session, who, case_id))

    return state.record.again(unit)


@blueprint.route("/cases/<uuid:case_id>/receipt", methods=["GET"])
@blueprint.response(200, schemas.ReceiptOut)
@allow(Role.CREW)
def get_receipt(case_id: UUID) -> Receipt:
    """The receipt of a case, once more."""
    with here().record.read() as session:
        return intake.receipt(session, access.case(session, actor(), case_id))


@blueprint.route("/cases/<uuid:case_id>", methods=["PATCH"])
@blueprint.arguments(schemas.CasePatchIn)
@blueprint.response(200, schemas.CaseOut)
@allow(Role.CREW)
def patch_case(data: dict[str, Any], case_id: UUID) -> dict[str, Any]:
    """New vitals, position, level or complaint."""
    state, who = here(), actor()
    changes: dict[str, Any] = {
        k: data[k] for k in ("crew_pre_ktas", "complaint", "pregnant") if k in data
    }
    changes |= data.get("position") or {}
    return state.record.again(
        lambda s: case_picture(
            s,
            state.settings,
            who,
            transport.update(
                s, state.settings, who, case_id, changes=changes, vitals=vitals_columns(data)
            ),
        )
    )


@blueprint.route("/cases/<uuid:case_id>/acknowledge", methods=["POST"])
@blueprint.response(200, schemas.CaseOut)
@allow(Role.CREW)
def acknowledge(case_id: UUID) -> dict[str, Any]:
    """Confirm the ER's decision, so that both sides know."""
    state, who = here(), actor()
    return state.record.again(
        lambda s: case_picture(
            s, state.settings, who, transport.acknowledge(s, state.settings, who, case_id)
        )
    )


@blueprint.route("/cases/<uuid:case_id>/depart", methods=["POST"])
@blueprint.response(200, schemas.CaseOut)
@allow(Role.CREW)
def depart(case_id: UUID) -> dict[str, Any]:
    """On the way."""
    state, who = here(), actor()
    return state.record.again(
        lambda s: case_picture(
            s, state.settings, who, transport.depart(s, state.settings, who, case_id)
        )
    )


@blueprint.route("/cases/<uuid:case_id>/arrive", methods=["POST"])
@blueprint.response(200, schemas.CaseOut)
@allow(Role.CREW)
def arrive(case_id: UUID) -> dict[str, Any]:
    """At the door."""
    state, who = here(), actor()
    return state.record.again(
        lambda s: case_picture(
            s, state.settings, who, transport.arrive(s, state.settings, who, case_id)
        )
    )


@blueprint.route("/cases/<uuid:case_id>/cancel", methods=["POST"])
@blueprint.arguments(schemas.CancelIn)
@blueprint.response(200, schemas.CaseOut)
@allow(Role.CREW, Role.CONTROL_ROOM)
def cancel(data: dict[str, Any], case_id: UUID) -> dict[str, Any]:
    """Call the case off; open offers are withdrawn."""
    state, who = here(), actor()
    return state.record.again(
        lambda s: case_picture(
            s, state.settings, who, transport.cancel(s, who, case_id, data["reason"])
        )
    )


@blueprint.route("/cases/<uuid:case_id>/elsewhere", methods=["POST"])
@blueprint.arguments(schemas.ElsewhereIn)
@blueprint.response(200, schemas.CaseOut)
@allow(Role.CREW, Role.CONTROL_ROOM)
def taken_elsewhere(data: dict[str, Any], case_id: UUID) -> dict[str, Any]:
    """A hospital outside of this system takes the patient by telephone; the search ends."""
    state, who = here(), actor()
    hospital, phone, reason = data["hospital"], data.get("phone") or None, data["reason"]
    return state.record.again(
        lambda s: case_picture(
            s,
            state.settings,
            who,
            elsewhere.place(s, state.settings, who, case_id, hospital, phone, reason),
        )
    )


@blueprint.route("/cases/<uuid:case_id>/elsewhere/end", methods=["POST"])
@blueprint.response(200, schemas.CaseOut)
@allow(Role.CREW, Role.CONTROL_ROOM)
def not_taken_elsewhere(case_id: UUID) -> dict[str, Any]:
    """That hospital does not take the patient after all: the search begins again at once."""
    state, who = here(), actor()
    return state.record.again(
        lambda s: case_picture(
            s, state.settings, who, elsewhere.take_back(s, state.settings, who, case_id)
        )
    )


@blueprint.route("/offers/<uuid:offer_id>/take", methods=["POST"])
@blueprint.response(200, schemas.OfferBrief)
@allow(Role.CREW)
def take_offer(offer_id: UUID) -> dict[str, Any]:
    """Take a "yes, in N minutes"."""
    state, who = here(), actor()
    return state.record.again(
        lambda s: offer_picture(
            s, state.settings, None, offers.take(s, state.settings, who, offer_id)
        )
    )


@blueprint.route("/offers/<uuid:offer_id>/pass", methods=["POST"])
@blueprint.arguments(schemas.PassIn)
@blueprint.response(200, schemas.OfferBrief)
@allow(Role.CREW)
def pass_offer(data: dict[str, Any], offer_id: UUID) -> dict[str, Any]:
    """Pass a "yes, in N minutes", or give an accepted ER back."""
    state, who = here(), actor()
    return state.record.again(
        lambda s: offer_picture(
            s,
            state.settings,
            None,
            offers.pass_over(s, state.settings, who, offer_id, data.get("note")),
        )
    )


def idempotency_key() -> str:
    """The request's key, or IdempotencyKeyMissing."""
    key = request.headers.get("Idempotency-Key", "").strip()
    if not KEY_LENGTH[0] <= len(key) <= KEY_LENGTH[1] or not key.isascii():
        raise IdempotencyKeyMissing()
    return key


def known(
    state: State, who: Actor, key: str, submission: Submission, film_sha256: str
) -> Receipt | None:
    """The receipt of an earlier submission with this key and this film, if there was one."""
    with state.record.read() as session:
        return intake.known(
            session, who, key, intake.request_hashes(state.settings, submission, film_sha256)
        )


def read_case() -> tuple[Submission, str | None]:
    """The case of a multipart or JSON request and the uploaded film that it names, if any.

    ValidationError names the field.
    """
    data = schemas.CaseIn().load(strict_json(case_text()))
    submission = Submission(
        crew_pre_ktas=data.get("crew_pre_ktas"),
        age_years=data.get("age_years"),
        sex=data.get("sex"),
        pregnant=data.get("pregnant"),
        complaint=data.get("complaint"),
        vitals=vitals_columns(data),
        patient=identity_columns(data.get("patient")),
        film_follows=data.get("film_follows", False),
        **(data.get("position") or {}),
    )
    return submission, data.get("image_sha256")


def identity_columns(data: dict[str, Any] | None) -> dict[str, Any] | None:
    """An identity as the record keeps it: the birth date as ISO text."""
    if data and data.get("birth_date"):
        return {**data, "birth_date": data["birth_date"].isoformat()}
    return data


def vitals_columns(data: dict[str, Any]) -> dict[str, Any] | None:
    """Vital signs as columns, or None when none were sent."""
    vitals = {k: v for k, v in (data.get("vitals") or {}).items() if v is not None}
    if "consciousness" in vitals:
        vitals["consciousness"] = vitals["consciousness"].value
    return vitals or None
