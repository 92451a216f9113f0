"""One tree of exceptions; the docstring is the message and `code` is stable for clients.

Mapped to HTTP once, in web/errors.py. No HTTP words may enter here beyond the status number, which
is kept beside the code so that there is one table.
"""

from __future__ import annotations

from typing import Any, ClassVar


class GoldentimeError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500

    def __init__(self, message: str | None = None, **extra: Any) -> None:
        self.message = message or (type(self).__doc__ or "").strip()
        self.extra = extra
        super().__init__(self.message)

    @property
    def told(self) -> str:
        """What whoever runs a command reads; callers of a door get `message`."""
        return self.message


class BadSetting(GoldentimeError):
    """A setting is missing or cannot be read."""

    code = "bad_setting"


class BadRequest(GoldentimeError):
    """The request cannot be understood."""

    code = "bad_request"
    status = 400


class Invalid(BadRequest):
    """A field is missing, unknown or out of range."""

    code = "invalid"
    status = 422


class WrongUnit(Invalid):
    """A crew needs its ambulance, an emergency room's person that room; nobody else has a unit."""

    code = "wrong_unit"


class NowhereOnLand(Invalid):
    """This position lies in the sea at 0° 0°."""

    code = "nowhere_on_land"


class PagerRefused(Invalid):
    """The pager's address cannot be used."""

    code = "pager_refused"


class IdempotencyKeyMissing(BadRequest):
    """Send an Idempotency-Key header of 8 to 100 characters, a new one for each new case."""

    code = "idempotency_key_missing"


class IdempotencyKeyReused(GoldentimeError):
    """This Idempotency-Key was used with another body; use a new key for a new case."""

    code = "idempotency_key_reused"
    status = 422


class NotSignedIn(GoldentimeError):
    """Sign in, or send a valid device token."""

    code = "not_signed_in"
    status = 401


class SignInFailed(NotSignedIn):
    """Name or password is wrong, or the account is locked for a while."""

    code = "sign_in_failed"


class SecretSpent(BadRequest):
    """This link was used already or is too old; ask your administrator for a new one."""

    code = "secret_spent"
    status = 410


class NotAllowed(GoldentimeError):
    """Your role may not do this."""

    code = "not_allowed"
    status = 403


class NotFound(GoldentimeError):
    """There is no such thing, or you may not see it."""

    code = "not_found"
    status = 404


class Conflict(GoldentimeError):
    """The case or offer has moved on."""

    code = "conflict"
    status = 409


class LostRace(Conflict):
    """Somebody else changed this case at the same moment; look again."""

    code = "lost_race"


class ChangedMeanwhile(Conflict):
    """Somebody else changed this since you opened it; look again."""

    code = "changed_meanwhile"


class NameTaken(Conflict):
    """There is one of this name already."""

    code = "name_taken"


class UnitBusy(Conflict):
    """This ambulance has live cases; close or cancel them first."""

    code = "unit_busy"


class OwnRights(Conflict):
    """You cannot take your own rights away; another administrator can."""

    code = "own_rights"


class LastAdministrator(Conflict):
    """This is the last administrator; name another one first."""

    code = "last_administrator"


class IllegalTransition(Conflict):
    """This step is not possible from the present state."""

    code = "illegal_transition"


class DirectiveStands(Conflict):
    """The control room has said something else about this emergency room already."""

    code = "directive_stands"


class AlreadyTaken(Conflict):
    """Another emergency room has already accepted this case."""

    code = "already_taken"


class AlreadyDecided(Conflict):
    """This offer has already been answered otherwise."""

    code = "already_decided"


class StalePage(Conflict):
    """The case has changed since this page showed it; look at what is new and decide again."""

    code = "stale_page"


class StalePatient(Conflict):
    """Somebody changed this patient since you looked; look again and repeat it."""

    code = "stale_patient"


class IdentityUnreadable(GoldentimeError):
    """The identity cannot be decrypted: its key is not among GOLDENTIME_IDENTITY_KEYS."""

    code = "identity_unreadable"
    status = 503


class OfferGone(GoldentimeError):
    """This offer is no longer open."""

    code = "offer_gone"
    status = 410


class ImageUnreadable(GoldentimeError):
    """The image cannot be opened; retake it or send the case without a film."""

    code = "image_unreadable"
    status = 422


class TooLarge(GoldentimeError):
    """A film, or another request, has more bytes than are taken here."""

    code = "too_large"
    status = 413

    def __init__(self, most_bytes: int) -> None:
        super().__init__(
            f"the film is larger than {most_bytes / 2**20:.3g} MiB; send it as a photo, or the "
            "case without it"
        )


class UploadIncomplete(Conflict):
    """The film named here is not wholly uploaded; send the rest, or the case without a film."""

    code = "upload_incomplete"


class UploadCorrupt(Conflict):
    """The uploaded bytes are not the film that was announced; upload it again."""

    code = "upload_corrupt"


class WrongOffset(Conflict):
    """The upload does not stand where this piece begins; ask where it stands."""

    code = "wrong_offset"


class WrongTusVersion(GoldentimeError):
    """Send Tus-Resumable: 1.0.0."""

    code = "wrong_tus_version"
    status = 412


class StorageFull(GoldentimeError):
    """The image store is almost full; try again, or send the case without a film."""

    code = "storage_full"
    status = 503


class DatabaseBusy(GoldentimeError):
    """The record cannot be reached just now; try again with the same Idempotency-Key."""

    code = "database_busy"
    status = 503

    def __init__(self, reason: str, said: object = "") -> None:
        super().__init__(reason=reason)
        self.why = ": ".join(filter(None, (reason, *str(said).strip().splitlines()[:1])))
        """For logs, never for clients: the reason and the first line of what the driver said."""

    @property
    def told(self) -> str:
        """An operator is told why, and where to look."""
        return (
            f"the database cannot be used just now ({self.why}); look whether it runs and has "
            "room, and whether GOLDENTIME_DATABASE_URL or GOLDENTIME_DATA_DIR names it rightly"
        )


class LeaseLost(GoldentimeError):
    """Another worker has taken over this reading."""

    code = "lease_lost"
    status = 409
