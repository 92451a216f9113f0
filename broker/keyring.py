"""Identity at rest: what is encrypted with which key, and how it is found again without reading it.

Encryption is Fernet (AES-128-CBC with HMAC-SHA256, library `cryptography`); a ring of several keys
is how a key is changed. The blind index is an HMAC-SHA256 of the normalised text under a key
derived from the same secret (HKDF), so that equal texts meet and nobody reads them in the rows.
A third derived key signs the audit's seals (broker/seals.py).
Keys come from the settings; nothing here is ever logged. What this guards against and what it does
not: docs/decisions/0019-identity-at-rest.md.
"""

from __future__ import annotations

import hmac
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from uuid import UUID

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from broker.errors import BadSetting, IdentityUnreadable
from broker.settings import PREFIX, Settings

KEY_HINT = (
    "python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"
)
_SUBJECT = "of"
_IDENTIFIER_FIELDS = frozenset({"identifier", "phone"})


@dataclass(frozen=True)
class _Key:
    """What is derived from one secret of the ring."""

    id: str
    """Tells keys apart in rows; says nothing about the key."""
    fernet: Fernet
    index_key: bytes
    seal_key: bytes


class Keyring:
    """The keys of one installation: the first one writes, all of them read."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        self._keys = [_key(secret, number) for number, secret in enumerate(secrets, start=1)]
        self._ring = MultiFernet([key.fernet for key in self._keys])

    @property
    def writes_with(self) -> str:
        """The id of the key that new rows are written with."""
        return self._keys[0].id

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all keys, the writing one first."""
        return tuple(key.id for key in self._keys)

    def encrypt(self, subject: UUID, fields: Mapping[str, str]) -> str:
        """A token that only this subject's row can be read with: a copy into another row fails."""
        text = json.dumps({**fields, _SUBJECT: str(subject)}, ensure_ascii=False)
        return self._ring.encrypt(text.encode()).decode()

    def decrypt(self, subject: UUID, token: str) -> dict[str, str]:
        """What encrypt() was given; IdentityUnreadable without the right key, or when changed."""
        try:
            fields: dict[str, str] = json.loads(self._ring.decrypt(token.encode()))
        except (InvalidToken, ValueError) as error:
            raise IdentityUnreadable() from error
        if fields.pop(_SUBJECT, None) != str(subject):
            raise IdentityUnreadable("this identity was written for another patient")
        return fields

    def index(self, field: str, text: str) -> str:
        """The blind index that new rows carry."""
        return _digest(self._keys[0], field, normalised(field, text))

    def indexes(self, field: str, text: str) -> list[str]:
        """Every blind index that a row may carry while keys are being changed."""
        wanted = normalised(field, text)
        return [_digest(key, field, wanted) for key in self._keys]

    def fingerprints(self, text: str) -> list[str]:
        """Keyed hashes of a text that may hold a name, the first key's first.

        A plain hash would let anybody with the rows try names until one fits.
        """
        return [
            f"k{hmac.new(key.index_key, text.encode(), sha256).hexdigest()[1:]}"
            for key in self._keys
        ]

    def sign(self, digest: str) -> str:
        """The first key's signature of an audit seal's digest (HMAC-SHA256, hexadecimal)."""
        return _signature(self._keys[0], digest)

    def signed(self, key_id: str, digest: str, signature: str) -> bool | None:
        """Whether a key of this ring signed so; None when the ring does not hold that key."""
        for key in self._keys:
            if key.id == key_id:
                return hmac.compare_digest(_signature(key, digest), signature)
        return None


def of(settings: Settings) -> Keyring:
    """The ring that the settings name; BadSetting when there is none or a key is no key."""
    if not settings.identity_keys:
        raise BadSetting(
            f"{PREFIX}IDENTITY_KEYS must name at least one key, or names of patients cannot be "
            f"kept ({KEY_HINT}); keep it apart from the backups, which are worthless without it"
        )
    return _ring(settings.identity_keys)


def normalised(field: str, text: str) -> str:
    """How a text is compared: Hangul composed (NFKC), case and spaces do not count.

    Identifiers and telephone numbers are compared by their letters and digits only.
    """
    folded = "".join(unicodedata.normalize("NFKC", text).casefold().split())
    if field in _IDENTIFIER_FIELDS:
        return "".join(character for character in folded if character.isalnum())
    return folded


@lru_cache(maxsize=8)
def _ring(secrets: tuple[str, ...]) -> Keyring:
    return Keyring(secrets)


def _key(secret: str, number: int) -> _Key:
    try:
        fernet = Fernet(secret)
    except ValueError as error:
        raise BadSetting(
            f"{PREFIX}IDENTITY_KEYS: key number {number} is no Fernet key (32 bytes in url-safe "
            f"base64); make one with: {KEY_HINT}"
        ) from error
    return _Key(
        id=_derived(secret, b"goldentime key id", 8).hex(),
        fernet=fernet,
        index_key=_derived(secret, b"goldentime blind index", 32),
        seal_key=_derived(secret, b"goldentime audit seal", 32),
    )


def _derived(secret: str, purpose: bytes, length: int) -> bytes:
    return HKDF(SHA256(), length, salt=None, info=purpose).derive(secret.encode())


def _digest(key: _Key, field: str, wanted: str) -> str:
    return hmac.new(key.index_key, f"{field}\0{wanted}".encode(), sha256).hexdigest()


def _signature(key: _Key, digest: str) -> str:
    return hmac.new(key.seal_key, digest.encode(), sha256).hexdigest()
