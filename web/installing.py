"""The ambulance's page as an installable app: manifest, service worker, and a shell without a name.

The shell and the files under static/ are all that the service worker may keep; an answer of the
API, a case or a person never. Its version is a hash of what it keeps, so that an update takes the
place of the whole old shell.
"""

from __future__ import annotations

import hashlib
import json
from typing import Final

from flask import Blueprint, Response, render_template

from web import assets, language, pages
from web.auth import public

blueprint = Blueprint("installing", __name__)

STYLES: Final = ("tokens.css", "page.css", "case.css", "crew.css")
ICONS: Final = ("icon.svg", "icon-192.png", "icon-512.png")


@blueprint.route("/crew/shell/<any(en, ko):language>")
@public
def shell(language: str) -> str:  # web/language.py reads it from the request
    """The ambulance's page as it opens without a network: no account, no case."""
    return pages.crew_page()


@blueprint.route("/service-worker.js")
@public
def service_worker() -> Response:
    """The script that keeps the shell and sends what waits when the network is back."""
    files = [assets.address(name) for name in (*STYLES, *ICONS, *assets.scripts("crew.js"))]
    shells = {code: f"/crew/shell/{code}" for code in language.LANGUAGES}
    digest = hashlib.sha256(f"{assets.version()} {language.version()}".encode())
    script = render_template(
        "service_worker.js",
        version=digest.hexdigest()[:16],
        files=files,
        shells=shells,
        asset=assets.address,
    )
    answer = Response(script, content_type="text/javascript; charset=utf-8")
    answer.headers["Cache-Control"] = "no-cache"
    return answer


@blueprint.route("/manifest.webmanifest")
@public
def manifest() -> Response:
    """What a phone shows for the installed app."""
    body = {
        "id": "/crew",
        "name": language.text("app.name"),
        "short_name": language.text("app.name"),
        "description": language.text("app.tagline"),
        "lang": language.wanted(),
        "start_url": "/crew",
        "scope": "/",
        "display": "standalone",
        "background_color": "#0c1216",
        "theme_color": "#0b4f6c",
        "icons": [
            {"src": assets.address("icon.svg"), "sizes": "any", "type": "image/svg+xml"},
            *(
                {
                    "src": assets.address(f"icon-{side}.png"),
                    "sizes": f"{side}x{side}",
                    "type": "image/png",
                    "purpose": "any maskable",
                }
                for side in (192, 512)
            ),
        ],
    }
    return Response(json.dumps(body, ensure_ascii=False), content_type="application/manifest+json")
