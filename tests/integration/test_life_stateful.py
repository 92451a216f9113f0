"""The whole life of cases and offers, driven at random against a small model of what must happen.

The model is a handful of words per case and knows no code of ours: who may move from where, and
what everybody else's offers become. It must agree with the record after every step.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings as hypothesis_settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from broker import invariants
from broker.errors import GoldentimeError
from broker.lifecycle import CaseStatus, DeclineReason, DirectiveKind
from broker.record import Record
from broker.tables import Offer
from dispatch import assigning, elsewhere, offers, transport
from dispatch.offers import Decision
from tests.integration.city import City
from tests.integration.emptying import empty_tables

SEEKING = {"received", "offering", "unplaced"}
OPEN = {"requested", "received", "accepted_with_delay"}
ON_THE_WAY = ["assigned", "acknowledged", "en_route", "arrived", "closed"]
OVER = {"closed", "cancelled"}
BY_TIME = {
    "received": {"received", "offering", "unplaced"},
    "offering": {"offering", "unplaced"},
    "arrived": {"arrived", "closed"},
}
"""What the clock alone may make of a case; all other states stay."""


@dataclass
class Told:
    """What the model knows of one case."""

    id: UUID
    status: str = "received"
    offers: dict[UUID, str] = field(default_factory=dict)
    delays: dict[UUID, int] = field(default_factory=dict)
    said: dict[UUID, DirectiveKind] = field(default_factory=dict)
    """The control room's words by ER."""
    outside: bool = False
    """A hospital outside of the system has it, or had it in the end."""

    @property
    def holder(self) -> UUID | None:
        held = [offer for offer, status in self.offers.items() if status == "accepted"]
        return held[0] if held else None

    def give(self, winner: UUID) -> None:
        """One ER holds it, and every other open offer is taken back."""
        self.status = "assigned"
        for offer, status in self.offers.items():
            if offer == winner:
                self.offers[offer] = "accepted"
            elif status in OPEN:
                self.offers[offer] = "withdrawn"


which = st.integers(0, 50)


class Life(RuleBasedStateMachine):
    """Crews, ERs and the clock; `record` is set by the test."""

    record: Record

    def __init__(self) -> None:
        super().__init__()
        with self.record.write() as session:
            empty_tables(session)
        self.city = City.found(self.record, rooms=7)
        self.cases: list[Told] = []

    # --- moves -----------------------------------------------------------------------------------

    @precondition(lambda self: len(self.cases) < 4)
    @rule(level=st.sampled_from([1, 3, 5]))
    def submit(self, level: int) -> None:
        self.cases.append(Told(self.city.submit(crew_pre_ktas=level)))

    @precondition(lambda self: self.cases)
    @rule(n=which, seconds=st.sampled_from([0, 1, 25, 70, 130, 200, 400, 15_000]))
    def time_passes(self, n: int, seconds: int) -> None:
        told = self.cases[n % len(self.cases)]
        if told.status not in OVER:
            self.city.let_pass(told.id, seconds)
        self.city.advance(told.id)
        case = self.city.case(told.id)
        assert case.status in BY_TIME.get(told.status, {told.status})
        told.status = str(case.status)
        for offer in self.city.offers(told.id):
            before = told.offers.get(offer.id)
            if before is None:
                assert offer.status == "requested"
                assert told.status in SEEKING, "a new offer of a case that somebody holds"
            elif offer.status != before:
                assert before in OPEN
                assert offer.status == "expired"
            told.offers[offer.id] = str(offer.status)

    @rule(n=which, m=which)
    def an_er_sees_it(self, n: int, m: int) -> None:
        if not (picked := self._offer(n, m)):
            return
        told, offer = picked
        if told.offers[offer.id] == "requested":
            told.offers[offer.id] = "received"
        self.city.do(offers.mark_received, self.city.er(offer.emergency_room_id), offer.id)

    @rule(n=which, m=which, delay_min=st.sampled_from([None, None, 10, 30]))
    def an_er_says_yes(self, n: int, m: int, delay_min: int | None) -> None:
        if not (picked := self._offer(n, m)):
            return
        told, offer = picked
        status = told.offers[offer.id]
        said = "accepted" if delay_min is None else "accepted_with_delay"
        same = status == said and told.delays.get(offer.id) == delay_min
        may = status in OPEN and told.status in SEEKING and (status != said or same)
        decision = Decision.ACCEPT if delay_min is None else Decision.ACCEPT_WITH_DELAY
        done = self._try(lambda: self.city.decide(offer, decision, delay_min=delay_min))
        assert done == (may or (status == "accepted" and said == "accepted"))
        if done and status != said:
            if delay_min is None:
                told.give(offer.id)
            else:
                told.offers[offer.id] = said
            told.delays[offer.id] = delay_min  # type: ignore[assignment]  # None is an answer

    @rule(n=which, m=which)
    def an_er_says_no(self, n: int, m: int) -> None:
        if not (picked := self._offer(n, m)):
            return
        told, offer = picked
        status = told.offers[offer.id]
        done = self._try(
            lambda: self.city.decide(
                offer, Decision.REJECT, reason_code=DeclineReason.STAFF_OCCUPIED
            )
        )
        assert done == (status == "rejected" or (status in OPEN and told.status in SEEKING))
        if done:
            told.offers[offer.id] = "rejected"
            self._asked_instead(told, after_a_no=status in OPEN)

    @rule(n=which, m=which)
    def the_er_gives_it_back(self, n: int, m: int) -> None:
        if not (picked := self._offer(n, m)):
            return
        told, offer = picked
        status, given_back = told.offers[offer.id], offer.ended_reason == "given_back"
        done = self._try(
            lambda: self.city.do(
                offers.withdraw,
                self.city.settings,
                self.city.er(offer.emergency_room_id),
                offer.id,
                DeclineReason.NO_ER_BED,
                None,
            )
        )
        assert done == (given_back or (status == "accepted" and told.status not in OVER))
        if done and not given_back:
            self._search_again(told, offer)

    @rule(n=which, m=which, takes=st.booleans())
    def the_crew_answers(self, n: int, m: int, takes: bool) -> None:
        if not (picked := self._offer(n, m)):
            return
        told, offer = picked
        status, passed = told.offers[offer.id], offer.ended_reason == "passed_by_crew"
        if takes:
            done = self._try(
                lambda: self.city.do(offers.take, self.city.settings, self.city.crew, offer.id)
            )
            may = status == "accepted_with_delay" and told.status in SEEKING
            assert done == (may or status == "accepted")
            if may:
                told.give(offer.id)
                told.status = "acknowledged"
            return
        done = self._try(
            lambda: self.city.do(
                offers.pass_over, self.city.settings, self.city.crew, offer.id, None
            )
        )
        held = status == "accepted" and told.status not in OVER
        assert done == (passed or held or status == "accepted_with_delay")
        if done and held:
            self._search_again(told, offer)
        elif done and not passed:
            told.offers[offer.id] = "withdrawn"
            self._asked_instead(told, after_a_no=True)

    @precondition(lambda self: self.cases)
    @rule(n=which, step=st.sampled_from(["acknowledged", "en_route", "arrived", "closed"]))
    def the_crew_goes_on(self, n: int, step: str) -> None:
        told = self.cases[n % len(self.cases)]
        done = self._try(lambda: self._step(told, step))
        reached = told.status in ON_THE_WAY and ON_THE_WAY.index(told.status)
        if step == "closed":
            may = told.status in {"arrived", "closed"}
        elif step == "acknowledged":
            may = reached is not False and told.status != "closed"
        else:
            may = reached is not False and ON_THE_WAY.index(step) >= reached
            may = may or (step == "en_route" and told.status == "arrived")
        assert done == may, (told.status, step)
        if done and reached is not False and ON_THE_WAY.index(step) > reached:
            told.status = step

    @precondition(lambda self: self.cases)
    @rule(n=which)
    def the_case_is_called_off(self, n: int) -> None:
        told = self.cases[n % len(self.cases)]
        done = self._try(
            lambda: self.city.do(transport.cancel, self.city.crew, told.id, "called off")
        )
        assert done == (told.status in SEEKING | {"assigned", "acknowledged", "cancelled"})
        if done:
            told.status = "cancelled"
            for offer, status in told.offers.items():
                if status in OPEN:
                    told.offers[offer] = "withdrawn"

    # --- what the control room says ---------------------------------------------------------------

    @precondition(lambda self: self.cases)
    @rule(n=which, m=which, kind=st.sampled_from(list(DirectiveKind)))
    def the_control_room_pins_or_vetoes(self, n: int, m: int, kind: DirectiveKind) -> None:
        told, room = self.cases[n % len(self.cases)], self.city.rooms[m % len(self.city.rooms)]
        stands = told.said.get(room)
        done = self._try(
            lambda: self.city.do(
                assigning.direct,
                self.city.settings,
                self.city.control,
                told.id,
                room,
                kind,
                "a test",
            )
        )
        assert done == (told.status in SEEKING and stands in {None, kind})
        if not done or stands is kind:
            return
        told.said[room] = kind
        if kind is DirectiveKind.VETO:
            ended = False
            for offer in self.city.offers(told.id):
                if told.offers.get(offer.id) in OPEN and offer.emergency_room_id == room:
                    told.offers[offer.id], ended = "withdrawn", True
            self._asked_instead(told, after_a_no=ended)
        elif told.status != "received":
            new = self._new_offers(told)
            assert len(new) <= 1

    @precondition(lambda self: self.cases)
    @rule(n=which, m=which)
    def the_control_room_takes_its_word_back(self, n: int, m: int) -> None:
        told, room = self.cases[n % len(self.cases)], self.city.rooms[m % len(self.city.rooms)]
        if room in told.said and told.status not in OVER:
            self.city.do(assigning.lift, self.city.control, told.id, room)
            del told.said[room]

    @precondition(lambda self: self.cases)
    @rule(n=which, m=which)
    def the_control_room_assigns(self, n: int, m: int) -> None:
        told, room = self.cases[n % len(self.cases)], self.city.rooms[m % len(self.city.rooms)]
        held = told.status in ON_THE_WAY and told.status != "closed"
        holder = {o.id: o.emergency_room_id for o in self.city.offers(told.id)}.get(told.holder)
        may = told.status in SEEKING and told.said.get(room) is not DirectiveKind.VETO
        done = self._try(
            lambda: self.city.do(
                assigning.assign, self.city.settings, self.city.control, told.id, room, "a test"
            )
        )
        assert done == (may or (held and holder == room))
        if may:
            for offer in self.city.offers(told.id):
                told.offers.setdefault(offer.id, "requested")
            winner = [
                o.id
                for o in self.city.offers(told.id)
                if o.emergency_room_id == room and o.status == "accepted"
            ]
            assert len(winner) == 1
            told.give(winner[0])

    @precondition(lambda self: self.cases)
    @rule(n=which)
    def the_control_room_lets_it_go_on(self, n: int) -> None:
        told = self.cases[n % len(self.cases)]
        if told.status in OVER:
            return
        waits = self.city.case(told.id).control_room_until_at
        done = self._try(
            lambda: self.city.do(assigning.proceed, self.city.settings, self.city.control, told.id)
        )
        assert not done or (told.status == "received" and waits is not None)
        if done:
            told.status = str(self.city.case(told.id).status)
            assert told.status in {"offering", "unplaced"}
            self._new_offers(told)

    @precondition(lambda self: self.cases)
    @rule(n=which, by_crew=st.booleans())
    def a_hospital_outside_takes_it(self, n: int, by_crew: bool) -> None:
        told = self.cases[n % len(self.cases)]
        who = self.city.crew if by_crew else self.city.control
        done = self._try(
            lambda: self.city.do(
                elsewhere.place,
                self.city.settings,
                who,
                told.id,
                "Hospital X",
                None,
                "by telephone",
            )
        )
        held = told.status in ON_THE_WAY and told.status != "closed"
        assert done == (told.status in SEEKING or (held and told.outside))
        if done and not told.outside:
            told.outside = True
            told.status = "acknowledged" if by_crew else "assigned"
            for offer, status in told.offers.items():
                if status in OPEN:
                    told.offers[offer] = "withdrawn"

    @precondition(lambda self: self.cases)
    @rule(n=which)
    def the_hospital_outside_does_not_take_it(self, n: int) -> None:
        told = self.cases[n % len(self.cases)]
        done = self._try(
            lambda: self.city.do(
                elsewhere.take_back, self.city.settings, self.city.control, told.id
            )
        )
        assert done == (not told.outside or told.status not in OVER)
        if done and told.outside:
            told.outside = False
            told.status = "offering"
            self._new_offers(told)

    # --- what must hold --------------------------------------------------------------------------

    @invariant()
    def record_and_model_agree(self) -> None:
        for told in self.cases:
            assert self.city.case(told.id).status == told.status
            found = {offer.id: str(offer.status) for offer in self.city.offers(told.id)}
            assert found == told.offers
            assert list(found.values()).count("accepted") <= 1
            assert not (told.outside and "accepted" in found.values())
            for offer in self.city.offers(told.id):
                vetoed = told.said.get(offer.emergency_room_id) is DirectiveKind.VETO
                assert not (vetoed and told.offers[offer.id] in OPEN), "a vetoed ER is asked"
        with self.record.read() as session:
            assert invariants.rows(session, self.city.settings, stopped=True) == []

    def teardown(self) -> None:
        """From wherever it stands, every case can be brought to its end."""
        for told in self.cases:
            if told.status not in SEEKING | OVER:
                self._step(told, "arrived")
                self._step(told, "closed")
            elif told.status in SEEKING:
                self.city.do(transport.cancel, self.city.crew, told.id, "the test ends")
            assert self.city.case(told.id).status in {CaseStatus.CLOSED, CaseStatus.CANCELLED}

    # --- how -------------------------------------------------------------------------------------

    def _offer(self, n: int, m: int) -> tuple[Told, Offer] | None:
        """One of the offers, if there is any: what is drawn must not depend on real time."""
        some = [case for case in self.cases if case.offers]
        if not some:
            return None
        told = some[n % len(some)]
        found = self.city.offers(told.id)
        return told, found[m % len(found)]

    def _search_again(self, told: Told, offer: Offer) -> None:
        told.status, told.offers[offer.id] = "offering", "withdrawn"
        self._new_offers(told)

    def _asked_instead(self, told: Told, *, after_a_no: bool) -> None:
        """At most one ER for each no, one that was never asked: never more open than before it."""
        before = {o.emergency_room_id for o in self.city.offers(told.id) if o.id in told.offers}
        new = self._new_offers(told)
        assert len(new) <= (after_a_no and self.city.settings.replace_declined)
        for offer in self.city.offers(told.id):
            assert offer.id not in new or offer.emergency_room_id not in before

    def _new_offers(self, told: Told) -> list[UUID]:
        """Learn of the offers that a step opened."""
        new = [offer for offer in self.city.offers(told.id) if offer.id not in told.offers]
        for offer in new:
            assert offer.status == "requested"
            assert told.status in {"offering", "unplaced"}
            told.offers[offer.id] = "requested"
        return [offer.id for offer in new]

    def _step(self, told: Told, step: str) -> None:
        settings, crew = self.city.settings, self.city.crew
        match step:
            case "acknowledged":
                self.city.do(transport.acknowledge, settings, crew, told.id)
            case "en_route":
                self.city.do(transport.depart, settings, crew, told.id)
            case "arrived":
                self.city.do(transport.arrive, settings, crew, told.id)
            case "closed":
                self.city.do(transport.close, crew, told.id)

    def _try(self, step: object) -> bool:
        try:
            step()  # type: ignore[operator]
        except GoldentimeError as error:
            if error.status not in {409, 410}:
                raise
            return False
        return True


@pytest.mark.parametrize("replacing", [False, True])
def test_every_life_is_legal(record: Record, long_run: bool, replacing: bool):
    first = 0 if replacing else 1  # as shipped, and neither as shipped
    record.settings = replace(
        record.settings, replace_declined=replacing, control_room_first_acuity=first
    )
    run_state_machine_as_test(
        type("LifeHere", (Life,), {"record": record}),
        settings=hypothesis_settings(
            max_examples=200 if long_run else 5,
            stateful_step_count=50 if long_run else 20,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
