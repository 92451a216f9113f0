"""Open offers after new facts: who stands where now, and whether one more ER is asked at once.

An open offer is never taken back because the order changed: silence is not refusal, and an ER that
is about to answer must not find its patient gone. Its place, time of arrival and explanation are
amended, and its screen is told. One more ER is asked beside the open ones only when the case became
more urgent or came to need something, and only when that ER is clearly better than all that were
asked; at most one per round.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from broker.lifecycle import SEEKING_CASES, OfferStatus
from broker.settings import Settings
from broker.tables import Case, EmergencyRoom, Offer
from dispatch import asking, routing

CLEARLY_BETTER_MIN = 10.0
"""Expected minutes to a confirmed bed that one more ER must save: more than one failed round
(weights.FAILED_OFFER_MIN), so that noise in the figures asks nobody."""


def rerank(session: Session, settings: Settings, case: Case, now: datetime) -> None:
    """Amend place, arrival and explanation of every open offer; asks nobody."""
    if case.status not in SEEKING_CASES:
        return
    opened = asking.open_offers(session, case.id)
    rooms = [session.get_one(EmergencyRoom, offer.emergency_room_id) for offer in opened]
    ranked = {
        r.id: r
        for r in asking.rank(session, settings, case, asking.facts(session, case, rooms, now), now)
    }
    place = {id_: number for number, id_ in enumerate(ranked)}
    for number in {offer.round for offer in opened}:
        of_round = [offer for offer in opened if offer.round == number]
        ranks = sorted(offer.rank for offer in of_round)
        of_round.sort(key=lambda offer: place[offer.emergency_room_id])
        for rank, offer in zip(ranks, of_round, strict=True):
            found = ranked[offer.emergency_room_id]
            offer.rank = rank
            offer.eta_min, offer.distance_km = found.eta_min, found.distance_km
            # What was known of the set when it was asked stays true of that moment.
            of_set = {key: offer.explanation[key] for key in ("set",) if key in offer.explanation}
            offer.explanation = asking.explanation(found) | of_set
    session.flush()


def ask_one_more(session: Session, settings: Settings, case: Case, now: datetime) -> list[Offer]:
    """Ask one more ER beside the open offers, if one is clearly better than all of them.

    Empty when there is none, when nobody is asked yet, or when this round has its one already.
    """
    if case.status not in SEEKING_CASES:
        return []
    opened = [o for o in asking.open_offers(session, case.id) if o.status is not _PROMISED]
    asked = set(
        session.scalars(select(Offer.emergency_room_id).where(Offer.case_id == case.id)).all()
    )
    in_round = session.scalar(
        select(func.count())
        .select_from(Offer)
        .where(Offer.case_id == case.id, Offer.round == case.round)
    )
    of_round = settings.offers_per_round
    if settings.replace_declined:  # each no of this round may have brought one
        of_round += asking.freed_in_round(session, case)
    if not opened or (in_round or 0) > of_round:
        return []
    fresh = [r for r in asking.candidates(session, settings, case, now) if r.id not in asked]
    chosen = routing.choose(asking.rank(session, settings, case, fresh, now), 1)
    best = min(float(offer.explanation["expected_min"]) for offer in opened)
    better = [
        choice
        for choice in chosen
        if choice.excluded_reason is None and choice.expected_min + CLEARLY_BETTER_MIN <= best
    ]
    return asking.ask(session, settings, case, better, now, first_rank=(in_round or 0) + 1)


_PROMISED = OfferStatus.ACCEPTED_WITH_DELAY
"""Its bed is promised: whether another is better is the crew's choice."""
