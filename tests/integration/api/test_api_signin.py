"""Sign-in, sessions, tokens and the headers of every answer."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from argon2 import Parameters, PasswordHasher, extract_parameters
from argon2.profiles import RFC_9106_LOW_MEMORY
from flask.testing import FlaskClient
from sqlalchemy import update
from werkzeug.test import TestResponse

from broker import database
from broker.errors import BadSetting
from broker.lifecycle import Role
from broker.tables import Account, DeviceToken
from tests.integration.api.doors import HERE, PASSWORD, Caller, House, gateway
from web import auth, registry
from web.app import create_app


def sign_in(browser: FlaskClient, name: str, password: str = PASSWORD) -> TestResponse:
    return browser.post("/api/v1/session", json={"name": name, "password": password})


def signed_in(house: House, role: Role = Role.CONTROL_ROOM) -> FlaskClient:
    browser = house.browser()
    assert sign_in(browser, house.person(role)).status_code == 201
    return browser


def cookie(browser: FlaskClient) -> str:
    found = browser.get_cookie("goldentime")
    assert found is not None
    return found.value


def test_a_bearer_needs_no_csrf_token_and_gets_no_cookie(house: House) -> None:
    answer = house.crew.post(
        "/cases", json={"position": HERE}, headers={"Idempotency-Key": "bearer-needs-none"}
    )
    assert answer.status_code == 201
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer nonsense",
        "Basic Y3JldzpjcmV3",
        "bearer\ttoken",
        "é",
        "x" * 9000,
    ],
)
def test_a_token_that_is_none(house: House, header: str) -> None:
    answer = house.nobody.get("/cases", headers={"Authorization": header})
    assert (answer.status_code, answer.json["code"]) == (401, "not_signed_in")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_revoked_token_ends_at_once(house: House) -> None:
    tablet = house.device(Role.CREW, "Test 1", label="stolen tablet")
    assert tablet.get("/cases").status_code == 200
    with house.record.write() as db:
        assert registry.revoke_devices(db, "stolen tablet") == 1
    assert tablet.get("/cases").status_code == 401
    # A bad token is not repaired by a good cookie.
    browser = signed_in(house)
    headers = {"Authorization": f"Bearer {tablet.token}"}
    assert browser.get("/api/v1/cases", headers=headers).status_code == 401
    assert browser.get("/healthz", headers=headers).status_code == 200


def test_a_cookie_is_strict_and_for_scripts_invisible(house: House) -> None:
    answer = sign_in(house.browser(), house.person(Role.CONTROL_ROOM))
    (header,) = answer.headers.getlist("Set-Cookie")
    assert "HttpOnly" in header
    assert "SameSite=Strict" in header
    assert "Path=/" in header
    assert "Domain" not in header
    assert "password" not in answer.text


def test_over_tls_the_cookie_is_host_only_and_secure(house: House) -> None:
    settings = replace(
        house.settings,
        cookie_secure=True,
        trusted_hosts=("er.example",),
        public_url="https://er.example",
    )
    with gateway(settings) as app:
        _over_tls(house, app.test_client())


def _over_tls(house: House, browser: FlaskClient) -> None:
    name = house.person(Role.CONTROL_ROOM)
    at = "https://er.example"
    answer = browser.post("/api/v1/session", json={"name": name, "password": PASSWORD}, base_url=at)
    assert answer.status_code == 201, answer.text
    (header,) = answer.headers.getlist("Set-Cookie")
    assert header.startswith("__Host-goldentime=")
    assert "Secure" in header
    # Browsers must send the address that the CSRF check compares over TLS.
    assert answer.headers["Referrer-Policy"] == "same-origin"
    csrf = {"X-CSRFToken": answer.json["csrf_token"]}
    for referrer, status in ((None, 400), ("https://evil.example/", 400), (at + "/crew", 204)):
        headers = csrf if referrer is None else {**csrf, "Referer": referrer}
        found = browser.delete("/api/v1/session", headers=headers, base_url=at)
        assert found.status_code == status, referrer


def test_a_cookie_that_was_tampered_with(house: House) -> None:
    browser = signed_in(house)
    good = cookie(browser)
    body, stamp, signature = good.rsplit(".", 2)
    for bad in (
        good[:-2] + ("AA" if good[-2:] != "AA" else "BB"),
        f"{body[:-1]}{'A' if body[-1] != 'A' else 'B'}.{stamp}.{signature}",
        f"{body}..{signature}",
        "{}",
        "",
        "x" * 3000,
    ):
        browser.set_cookie("goldentime", bad)
        assert browser.get("/api/v1/session").status_code == 401, bad[:40]
    browser.set_cookie("goldentime", good)
    assert browser.get("/api/v1/session").status_code == 200


def test_a_cookie_of_another_secret(house: House) -> None:
    with gateway(replace(house.settings, secret_key="z" * 40)) as app:
        other = app.test_client()
        other.set_cookie("goldentime", cookie(signed_in(house)))
        assert other.get("/api/v1/session").status_code == 401


def test_a_session_expires(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = signed_in(house)
    assert browser.get("/api/v1/session").status_code == 200
    monkeypatch.setitem(house.app.config, "PERMANENT_SESSION_LIFETIME", timedelta(seconds=-1))
    assert browser.get("/api/v1/session").status_code == 401


def test_a_new_epoch_ends_every_session(house: House) -> None:
    name = house.person(Role.CONTROL_ROOM)
    here, there = house.browser(), house.browser()
    for browser in (here, there):
        assert sign_in(browser, name).status_code == 201
        assert browser.get("/api/v1/session").status_code == 200
    house.person(Role.CONTROL_ROOM, name=name)  # a new password
    for browser in (here, there):
        assert browser.get("/api/v1/session").status_code == 401
    assert sign_in(here, name).status_code == 201
    with house.record.write() as db:
        db.execute(update(Account).where(Account.sign_in_name == name).values(active=False))
    assert here.get("/api/v1/session").status_code == 401
    assert sign_in(here, name).status_code == 401


def test_signing_in_starts_a_new_session(house: House) -> None:
    """Nothing that was planted before survives (session fixation)."""
    name = house.person(Role.CONTROL_ROOM)
    browser = house.browser()
    with browser.session_transaction() as planted:
        planted["account"], planted["planted"] = "attacker", "yes"
    sign_in(browser, name)
    with browser.session_transaction() as found:
        assert "planted" not in found
        assert found["account"] != "attacker"
        assert found.permanent


def test_a_failed_sign_in_says_nothing(house: House) -> None:
    name = house.person(Role.CONTROL_ROOM)
    answers = [
        sign_in(house.browser(), name, "wrong password"),
        sign_in(house.browser(), "nobody-of-this-name", "wrong password"),
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert answers[0].json == answers[1].json
    assert answers[0].json["code"] == "sign_in_failed"
    assert "Set-Cookie" not in answers[0].headers


def test_a_failed_sign_in_costs_equally_much(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown name costs one hash of the same price as a known one: timing tells nothing."""
    verified: list[Parameters] = []
    honest = PasswordHasher.verify

    def verify(self: PasswordHasher, hash: str | bytes, password: str | bytes) -> bool:
        verified.append(extract_parameters(str(hash)))
        return bool(honest(self, hash, password))

    monkeypatch.setattr(PasswordHasher, "verify", verify)
    known = house.person(Role.CONTROL_ROOM)
    for name in (known, "nobody-of-this-name"):
        assert sign_in(house.browser(), name, "wrong password").status_code == 401
    assert len(verified) == 2
    assert verified[0] == verified[1]


def test_nobody_waits_while_a_password_is_checked(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hash takes its time; no transaction is open meanwhile, so others can write."""
    honest = PasswordHasher.verify
    wrote = []

    def verify(self: PasswordHasher, hash: str | bytes, password: str | bytes) -> bool:
        wrote.append(house.crew.submit().status_code)
        return bool(honest(self, hash, password))

    monkeypatch.setattr(PasswordHasher, "verify", verify)
    assert sign_in(house.browser(), house.person(Role.CONTROL_ROOM)).status_code == 201
    assert wrote == [201]


def test_an_account_locks_with_a_longer_pause_each_time(house: House) -> None:
    name = house.person(Role.CONTROL_ROOM)

    def locked_for() -> float:
        with house.record.read() as db:
            account = db.query(Account).filter_by(sign_in_name=name).one()
            if account.locked_until_at is None:
                return 0.0
            return (account.locked_until_at - database.now(db)).total_seconds()

    def wait_it_out() -> None:
        with house.record.write() as db:
            past = database.now(db) - timedelta(seconds=1)
            db.execute(
                update(Account).where(Account.sign_in_name == name).values(locked_until_at=past)
            )

    browser = house.browser()
    for _ in range(auth.LOCK_AFTER):
        assert locked_for() == 0
        assert sign_in(browser, name, "wrong password").status_code == 401
    assert 10 < locked_for() <= 15
    right = sign_in(browser, name)
    assert (right.status_code, right.json["code"]) == (401, "sign_in_failed")
    assert locked_for() <= 15  # trying while locked makes it no longer
    pauses = []
    for _ in range(2):
        wait_it_out()
        assert sign_in(browser, name, "wrong password").status_code == 401
        pauses.append(locked_for())
    assert 25 < pauses[0] <= 30
    assert 50 < pauses[1] <= 60
    wait_it_out()
    assert sign_in(browser, name).status_code == 201
    assert locked_for() == 0
    assert sign_in(browser, name, "wrong password").status_code == 401
    assert locked_for() == 0  # the count began anew


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "x"},
        {"name": "", "password": "x"},
        {"name": "a\x00b", "password": "x"},
        {"name": "a\ud800", "password": "x"},
        {"name": "x", "password": "\ud800"},
        {"name": "x" * 61, "password": "x"},
        {"name": "x", "password": "x" * 201},
        {"name": ["x"], "password": "x"},
        {"name": "x", "password": "x", "role": "admin"},
    ],
    ids=repr,
)
def test_a_sign_in_that_is_none(house: House, body: dict[str, object]) -> None:
    answer = house.nobody.post("/session", json=body)
    assert (answer.status_code, answer.json["code"]) == (422, "invalid")


def test_a_foreign_form_cannot_sign_in(house: House) -> None:
    """Sign-in forgery: what a cross-origin form can send is refused."""
    name = house.person(Role.CONTROL_ROOM)
    for content_type in ("application/x-www-form-urlencoded", "text/plain"):
        answer = house.browser().post(
            "/api/v1/session",
            data=json.dumps({"name": name, "password": PASSWORD}),
            content_type=content_type,
        )
        assert answer.status_code == 415
        assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost@evil", "a b"]
)
def test_another_host_is_not_ours(house: House, host: str) -> None:
    for path in ("/cases", "/healthz", "/nothing"):
        answer = house.crew.get(path, headers={"Host": host})
        assert (answer.status_code, answer.json["code"]) == (400, "bad_request")
        assert host not in answer.text
    spoofed = house.crew.get("/events", headers={"X-Forwarded-Host": "evil.example"})
    assert spoofed.headers["Location"].startswith(house.settings.stream_url)


@pytest.mark.parametrize("host", ["127.0.0.1:8123", "localhost"])
def test_our_own_hosts(house: House, host: str) -> None:
    assert house.nobody.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("path", ["/cases", "/healthz", "/nothing", "/cases/x", "/static/none.js"])
def test_every_answer_carries_the_headers(house: House, path: str) -> None:
    for who in (house.crew, house.nobody):
        headers = who.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["Cache-Control"] == "no-store"
        assert "Access-Control-Allow-Origin" not in headers


def test_a_password_is_kept_as_argon2id_and_a_token_as_a_hash(
    house: House, shipped_hasher: PasswordHasher
) -> None:
    kept_as = extract_parameters(shipped_hasher.hash("x"))
    assert kept_as == RFC_9106_LOW_MEMORY
    name = house.person(Role.ADMIN)
    with house.record.read() as db:
        account = db.query(Account).filter_by(sign_in_name=name).one()
        kept = {row.token_sha256 for row in db.query(DeviceToken)}
    assert account.password_hash.startswith("$argon2id$")
    assert house.crew.token is not None
    assert auth.token_sha256(house.crew.token) in kept
    assert house.crew.token not in kept


def test_a_health_check_asks_no_database(house: House) -> None:
    gone = replace(house.settings, database_url="postgresql+psycopg://x@127.0.0.1:1/none")
    with gateway(gone) as app:
        nobody = Caller(app)
        assert nobody.get("/healthz").status_code == 200
        answer = nobody.get("/readyz")
        assert (answer.status_code, answer.json["code"]) == (503, "database_busy")
        assert answer.headers["Retry-After"]
        answer = nobody.get("/cases", headers={"Authorization": "Bearer x"})
        assert answer.status_code == 503


def test_a_gateway_that_trusts_no_host_by_name_does_not_start(house: House) -> None:
    with pytest.raises(BadSetting, match="GOLDENTIME_TRUSTED_HOSTS"):
        create_app(replace(house.settings, trusted_hosts=()))
