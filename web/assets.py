"""The files under static/: scripts, style sheets, pictures, what others wrote (vendor/).

Their address holds a fingerprint of them all, so a browser keeps each for good and a new version
is a new address; modules that import each other by relative names stay of one version. Text is
compressed once per process, and our own scripts leave their comments and white space here. No
template, no word and nothing about a person may enter.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
import re
from functools import cache
from pathlib import Path
from threading import Thread
from typing import Final

from flask import Blueprint, Response, request
from rjsmin import jsmin
from werkzeug.exceptions import NotFound

from web.auth import public

blueprint = Blueprint("assets", __name__)

FOLDER: Final = Path(__file__).parent / "static"
FOREVER: Final = "public, max-age=31536000, immutable"
PACKED: Final = 6
"""gzip's level: 9 takes twice as long for our largest library and makes it 0.4 % smaller."""
_IMPORT: Final = re.compile(r'^(?:import|export)\b[^;]*?from "\./([\w.]+)";', re.MULTILINE)
TEXT: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


def address(name: str) -> str:
    """Where a file of static/ is served; KeyError for no such file."""
    if name not in _files():
        raise KeyError(name)
    return f"/assets/{version()}/{name}"


@cache
def version() -> str:
    """The fingerprint of all the files: the same in every process of one version."""
    digest = hashlib.sha256()
    for name, path in sorted(_files().items()):
        digest.update(name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


@cache
def scripts(first: str) -> tuple[str, ...]:
    """A script of static/ and all that it imports at once, in order of names."""
    found: set[str] = set()
    waiting = [first]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _IMPORT.findall((FOLDER / name).read_text(encoding="utf-8"))
    return tuple(sorted(found))


def head_start() -> None:
    """Compress everything now, beside the first callers: none of them should wait for it."""

    def pack() -> None:
        # Small ones first: every page needs them, and others' libraries take a second.
        for path in sorted(_files().values(), key=lambda path: path.stat().st_size):
            if path.suffix in TEXT:
                _compressed(path)

    Thread(target=pack, name="assets", daemon=True).start()


@blueprint.route("/assets/<fingerprint>/<path:name>")
@public
def serve(fingerprint: str, name: str) -> Response:
    """A file; one that is asked for under another version's address is not to be kept."""
    path = _files().get(name)
    if path is None:
        raise NotFound
    kind = TEXT.get(path.suffix)
    small = kind is not None and request.accept_encodings["gzip"] > 0
    response = Response(
        _compressed(path) if small else content(path),
        content_type=f"{kind}; charset=utf-8" if kind else mimetypes.guess_type(name)[0],
    )
    if small:
        response.headers["Content-Encoding"] = "gzip"
    response.vary.add("Accept-Encoding")
    response.headers["Cache-Control"] = FOREVER if fingerprint == version() else "no-cache"
    return response


@cache
def _files() -> dict[str, Path]:
    """Every file by its name under static/: nothing else can be asked for."""
    return {
        path.relative_to(FOLDER).as_posix(): path for path in FOLDER.rglob("*") if path.is_file()
    }


@cache
def _compressed(path: Path) -> bytes:
    return gzip.compress(content(path), PACKED, mtime=0)


@cache
def content(path: Path) -> bytes:
    """The bytes that are sent for a file, before compression.

    Our own scripts go without comments and white space, which are a third of them. Licences stand
    in vendor/, which is sent as it is. rjsmin reads no template literal within another one and
    would take blanks out of it; tests/unit/test_static.py sees to it that we write none.
    """
    if path.suffix != ".js" or path.parent != FOLDER:
        return path.read_bytes()
    return str(jsmin(path.read_text("utf-8"))).encode()
