"""Identity at rest: round trip, change of the key, and what does not open."""

from __future__ import annotations

import dataclasses
from uuid import uuid4

import pytest
from cryptography.fernet import Fernet

from broker import keyring
from broker.errors import BadSetting, IdentityUnreadable
from broker.keyring import Keyring
from broker.settings import Settings

OLD, NEW = (Fernet.generate_key().decode() for _ in range(2))
WHO = {"name": "홍길동", "birth_date": "1959-03-01", "identifier": "590301-1"}


def test_what_is_written_is_read_and_shows_nothing() -> None:
    subject = uuid4()
    token = Keyring((OLD,)).encrypt(subject, WHO)
    assert Keyring((OLD,)).decrypt(subject, token) == WHO
    for word in WHO.values():
        assert word not in token


def test_the_key_is_changed_without_losing_anybody() -> None:
    """Old key; new one first; then the old one goes."""
    subject = uuid4()
    before = Keyring((OLD,)).encrypt(subject, WHO)
    both = Keyring((NEW, OLD))
    assert both.decrypt(subject, before) == WHO
    assert both.writes_with == Keyring((NEW,)).writes_with != Keyring((OLD,)).writes_with
    after = both.encrypt(subject, both.decrypt(subject, before))
    assert Keyring((NEW,)).decrypt(subject, after) == WHO
    with pytest.raises(IdentityUnreadable):
        Keyring((NEW,)).decrypt(subject, before)


def test_while_the_key_is_changed_everybody_is_found() -> None:
    old, both = Keyring((OLD,)), Keyring((NEW, OLD))
    wanted = both.indexes("name", "홍길동")
    assert {old.index("name", "홍길동"), both.index("name", "홍길동")} == set(wanted)
    assert old.fingerprints("x")[0] in both.fingerprints("x")


def test_a_token_opens_in_its_own_row_only() -> None:
    ring, subject = Keyring((OLD,)), uuid4()
    token = ring.encrypt(subject, WHO)
    with pytest.raises(IdentityUnreadable):
        ring.decrypt(uuid4(), token)
    changed = token[:40] + ("A" if token[40] != "A" else "B") + token[41:]
    with pytest.raises(IdentityUnreadable):
        ring.decrypt(subject, changed)


@pytest.mark.parametrize(
    ("field", "one", "other", "same"),
    [
        ("name", "홍길동", "\u1112\u1169\u11bc 길동", True),  # Hangul in letters, and a space
        ("name", "Kim Cheolsu", "KIM  CHEOLSU", True),
        ("identifier", "590301-1234567", "5903011234567", True),
        ("name", "홍길동", "홍길순", False),
    ],
)
def test_equal_texts_meet_in_the_blind_index(field: str, one: str, other: str, same: bool) -> None:
    ring = Keyring((OLD,))
    assert (ring.index(field, one) == ring.index(field, other)) is same
    assert ring.index(field, one) != Keyring((NEW,)).index(field, one)
    assert ring.index("name", one) != ring.index("identifier", one)


def test_no_key_and_a_wrong_key_say_what_to_do_and_not_the_key() -> None:
    for keys in ((), ("short",), (OLD, "x" * 44)):
        with pytest.raises(BadSetting, match="GOLDENTIME_IDENTITY_KEYS") as refused:
            keyring.of(dataclasses.replace(Settings(), identity_keys=keys))
        assert "Fernet.generate_key" in refused.value.message
        assert not keys or keys[-1] not in refused.value.message
