"""Pages for crew, ER, control room and operations; they speak to the API like any other client.

Each page is a shell: words in English and Korean, where the stream is, and the number of the last
event, so that nothing falls between the page and its stream. No case and no patient is rendered
here; the scripts under static/ fetch those and set them as text, never as HTML.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

from flask import Blueprint, current_app, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from broker import events
from broker.errors import NotAllowed, NotSignedIn
from broker.lifecycle import DeclineReason, Role
from dispatch.access import Actor
from dispatch.instructions import Item
from dispatch.outcome import Disposition
from dispatch.rules import Capability
from web import assets, language
from web.auth import actor, allow, anybody, public
from web.state import here

blueprint = Blueprint("pages", __name__)
blueprint.after_request(language.remember)


THEMES: Final = ("auto", "light", "dark")
THEME_COOKIE: Final = "goldentime_theme"
CASE_SHEETS: Final = ("case",)
"""What every page that shows cases adds to the shared style sheets."""
EVENTS: Final = (
    *("case.received", "case.image", "case.offering", "case.unplaced", "case.assigned"),
    *("case.acknowledged", "case.en_route", "case.arrived", "case.closed", "case.cancelled"),
    *("case.amended", "case.position", "case.instructions", "case.instructions_seen"),
    "case.seems_arrived",
    *("offer.requested", "offer.reminded", "offer.received", "offer.accepted"),
    *("offer.accepted_with_delay", "offer.rejected", "offer.withdrawn", "offer.expired"),
    *("offer.amended", "message.sent", "message.delivered", "message.seen"),
    *("alarm.unacknowledged", "alarm.no_news", "alarm.few_suitable", "alarm.bed_feed"),
    *(
        "alarm.control_room_chooses",
        "case.directive",
        "case.alarm_taken",
        "case.telephoned",
        "offer.assigned",
        "bed_feed.back",
    ),
    *("beds.changed", "diversion", "beds", "case.outcome"),
    *("duplicate.suspected", "duplicate.same", "duplicate.different", "duplicate.cancelled"),
)
"""What pages follow: an EventSource tells only of types that it was asked for by name."""
FIRST_QUESTIONS: Final = {
    "er": ("/api/v1/offers?open=true&cases=true&limit=200", "/api/v1/emergency-rooms"),
}
"""What a page's script asks first, in its very words: the browser asks while the script comes."""
HOME: Final = {
    Role.CREW: "pages.crew",
    Role.EMERGENCY_ROOM: "pages.emergency_room",
    Role.CONTROL_ROOM: "pages.control_room",
    Role.OPERATIONS: "pages.operations",
    Role.ADMIN: "pages.operations",
}


@blueprint.after_request
def remember_theme(response: BaseResponse) -> BaseResponse:
    """Keep the colours that somebody chose by ?theme=."""
    if request.args.get("theme") in THEMES:
        response.set_cookie(
            THEME_COOKIE,
            request.args["theme"],
            max_age=365 * 24 * 3600,
            secure=here().settings.cookie_secure,
            httponly=True,
            samesite="Lax",
        )
    return response


@blueprint.after_request
def compress(response: BaseResponse) -> BaseResponse:
    """A page carries its words, 40 to 65 kB; it holds no secret that a length could tell."""
    response.vary.add("Accept-Encoding")
    if response.mimetype == "text/html" and request.accept_encodings["gzip"] > 0:
        response.set_data(gzip.compress(response.get_data(), assets.PACKED))
        response.headers["Content-Encoding"] = "gzip"
    return response


@blueprint.errorhandler(NotSignedIn)
def to_sign_in(_: NotSignedIn) -> BaseResponse:
    """Somebody unknown is shown the way in, and keeps the offer that a link named."""
    return redirect(url_for("pages.sign_in", offer=_linked_offer()))


@blueprint.errorhandler(NotAllowed)
def to_own_page(_: NotAllowed) -> BaseResponse:
    """Somebody else's page leads to one's own."""
    return redirect(url_for(HOME[actor().role]))


@blueprint.route("/")
@public
def home() -> BaseResponse:
    """To one's own page, or to the sign-in page."""
    who = anybody()
    return redirect(url_for(HOME[who.role] if who else "pages.sign_in"))


@blueprint.route("/sign-in")
@public
def sign_in() -> str | BaseResponse:
    """Name and password; who is signed in already goes on to the page of the role."""
    who, offer = anybody(), _linked_offer()
    onward = url_for("pages.emergency_room", offer=offer) if offer else url_for("pages.home")
    if who:
        return redirect(onward if offer else url_for(HOME[who.role]))
    return _page("sign_in", sheets=(), onward=onward)


@blueprint.route("/crew")
@allow(Role.CREW)
def crew() -> str:
    """Submit a case and follow it."""
    return crew_page()


def crew_page() -> str:
    """The ambulance's page for whoever asks; for nobody it is the shell of an installed app."""
    largest = here().settings.max_upload_bytes
    return _page("crew", sheets=(*CASE_SHEETS, "crew"), largest_film_bytes=largest)


@blueprint.route("/crew/history")
@allow(Role.CREW)
def crew_history() -> str:
    """The ambulance's earlier cases, and what became of the patients."""
    return _page("crew_history", sheets=(*CASE_SHEETS, "crew"))


@blueprint.route("/er")
@allow(Role.EMERGENCY_ROOM)
def emergency_room() -> str:
    """Answer offers, see who is coming."""
    return _page(
        "er",
        sheets=(*CASE_SHEETS, "er"),
        reasons=[reason.value for reason in DeclineReason],
        instructions=[item.value for item in Item],
        dispositions=[disposition.value for disposition in Disposition],
    )


@blueprint.route("/control")
@allow(Role.CONTROL_ROOM)
def control_room() -> str:
    """Alarms and live cases."""
    return _page("control", sheets=(*CASE_SHEETS, "control"))


@blueprint.route("/patients")
@allow(Role.EMERGENCY_ROOM, Role.CONTROL_ROOM)
def patients() -> str:
    """Who was carried, over cases; the server decides whom each may see."""
    return _page("patients", sheets=(*CASE_SHEETS, "patients"))


@blueprint.route("/beds")
@allow(Role.CONTROL_ROOM, Role.ADMIN)
def beds() -> str:
    """Free beds with the age of each figure; administrators set what an ER offers."""
    capabilities = [capability.value for capability in Capability]
    return _page("beds", sheets=("control",), capabilities=capabilities)


@blueprint.route("/operations")
@allow(Role.OPERATIONS, Role.CONTROL_ROOM, Role.ADMIN)
def operations() -> str:
    """Queues and processes; nothing clinical."""
    return _page("operations", sheets=("operations",))


@blueprint.route("/admin")
@allow(Role.ADMIN)
def admin() -> str:
    """Units, people, devices, settings, the audit."""
    capabilities = [capability.value for capability in Capability]
    return _page("admin", sheets=("operations", "admin"), capabilities=capabilities)


@blueprint.route("/choose-password")
@public
def choose_password() -> str:
    """Where an administrator's one-time link leads; its secret never reaches a server's log."""
    return _page("choose_password", sheets=())


@blueprint.route("/api/v1/docs")
@public
def docs() -> str:
    """The API's description for people, made from the OpenAPI document."""
    document = _openapi()
    rows = [
        {"path": path, "method": method.upper(), **operation}
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in {"get", "post", "put", "patch", "delete"}
    ]
    tags = dict.fromkeys(tag for row in rows for tag in row.get("tags", []))
    return render_template(
        "docs.html",
        document=document,
        tags={tag: [row for row in rows if tag in row.get("tags", [])] for tag in tags},
        **_shell("docs", sheets=("docs",)),
    )


def _page(name: str, *, sheets: tuple[str, ...], **config: Any) -> str:
    return render_template(
        "page.html",
        script=name,
        scripts=assets.scripts(f"{name}.js"),
        first_questions=FIRST_QUESTIONS.get(name, ()),
        **_shell(name, sheets=sheets, **config),
    )


def _shell(name: str, *, sheets: tuple[str, ...], **config: Any) -> dict[str, Any]:
    """What every template gets: words, style sheets, and the configuration that scripts read."""
    who = anybody()
    chosen = language.wanted()
    theme = _theme()
    return {
        "name": name,
        "sheets": sheets,
        "theme": theme,
        "next_theme": THEMES[(THEMES.index(theme) + 1) % len(THEMES)],
        "language": chosen,
        "other_language": next(code for code in language.LANGUAGES if code != chosen),
        "t": language.text,
        "asset": assets.address,
        "who": who,
        "config": {
            "language": chosen,
            "locale": language.LOCALES[chosen],
            "text": language.words(),
            "role": who.role if who else None,
            "emergency_room_id": str(who.emergency_room_id or "") if who else "",
            "audience": who.audience if who else None,
            "stream": f"{here().settings.stream_url}/api/v1/events",
            "map_tiles": here().settings.map_tiles_url,
            "map_attribution": here().settings.map_attribution,
            "events": EVENTS,
            "after": _last_event(who),
            **config,
        },
    }


def _theme() -> str:
    """The colours that somebody wants: by ?theme=, by cookie, else the device's."""
    for wish in (request.args.get("theme"), request.cookies.get(THEME_COOKIE)):
        if wish in THEMES:
            return wish
    return THEMES[0]


def _linked_offer() -> UUID | None:
    """The offer of a second channel's link; anything but an id is dropped, and leads nowhere."""
    try:
        return UUID(request.args.get("offer", ""))
    except ValueError:
        return None


def _last_event(who: Actor | None) -> int | None:
    """The number to follow events from: whatever the page fetches afterwards is newer."""
    if who is None or who.audience is None:
        return None
    with here().record.read() as session:
        return events.last_seq(session, who.audience)


def _openapi() -> dict[str, Any]:
    """The generated document (flask-smorest), with the references that templates follow."""
    view: Callable[[], Any] = current_app.view_functions["api-docs.openapi_json"]
    document: dict[str, Any] = current_app.make_response(view()).get_json()
    return document
