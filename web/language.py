"""The language of a page: which one somebody wants, and every string in it.

English is the source and lies in the Korean catalogue beside its translation: msgctxt is the key by
which templates and scripts ask, msgid the English words, msgstr the Korean ones. A further language
is a further catalogue with the same keys. Only Flask-Babel and the request may enter.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

from babel.messages.pofile import read_po
from flask import Flask, Response, request
from flask_babel import Babel, get_locale, pgettext

from broker.errors import BadSetting
from web.state import here

LANGUAGES: Final = ("en", "ko")
COOKIE: Final = "goldentime_language"
LOCALES: Final = {"en": "en-GB", "ko": "ko-KR"}
"""What a browser's Intl is asked for, so that 24 hours and day before month are shown to all."""


def register(app: Flask) -> None:
    """Give an app its languages; BadSetting when the catalogue was not compiled."""
    english()
    Babel(app, default_locale=LANGUAGES[0], locale_selector=wanted)


def wanted() -> str:
    """ "en" or "ko": by the path, by ?lang=, by cookie, by Accept-Language."""
    path = (request.view_args or {}).get("language")
    for wish in (path, request.args.get("lang"), request.cookies.get(COOKIE)):
        if wish in LANGUAGES:
            return wish
    return request.accept_languages.best_match(LANGUAGES) or LANGUAGES[0]


def text(key: str, **values: Any) -> str:
    """A string in the language of the request, its {names} filled in; KeyError for no such key."""
    found: str = pgettext(key, english()[key])
    return found.format(**values)


def words() -> dict[str, str]:
    """Every string in the language of the request, by key, for the scripts."""
    return _words(str(get_locale()))


@cache
def _words(_: str) -> dict[str, str]:
    return {key: pgettext(key, source) for key, source in english().items()}


@cache
def version() -> str:
    """The fingerprint of the words and of the templates that show them."""
    digest = hashlib.sha256()
    for folder in ("translations", "templates"):
        for path in sorted((Path(__file__).parent / folder).rglob("*.*")):
            if path.is_file():
                digest.update(path.read_bytes())
    return digest.hexdigest()


def in_every(key: str, **values: Any) -> dict[str, str]:
    """A string in every language, by language: for what is told without knowing who reads it."""
    return {language: _by_key()[key][language].format(**values) for language in LANGUAGES}


@cache
def english() -> dict[str, str]:
    """Every string of the pages in the source language, by key."""
    return {key: strings["en"] for key, strings in _by_key().items()}


@cache
def _by_key() -> dict[str, dict[str, str]]:
    catalogue = resources.files("web") / "translations" / "ko" / "LC_MESSAGES"
    if not (catalogue / "messages.mo").is_file():
        raise BadSetting(
            "the pages' words are not compiled; run `make translations` (or `pybabel compile "
            "--directory web/translations`)"
        )
    with (catalogue / "messages.po").open("rb") as file:
        return {
            str(message.context): {"en": str(message.id), "ko": str(message.string)}
            for message in read_po(file)
            if message.id
        }


def remember(response: Response) -> Response:
    """Keep the language that somebody chose by ?lang=."""
    if request.args.get("lang") in LANGUAGES:
        response.set_cookie(
            COOKIE,
            request.args["lang"],
            max_age=365 * 24 * 3600,
            secure=here().settings.cookie_secure,
            httponly=True,
            samesite="Lax",
        )
    return response
