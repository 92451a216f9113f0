// How a case looks, the same for crew, ER and control room. Nothing here asks the server anything.

import { countdown, el, roomName, t, time, word } from "./page.js";
import { acuity, eta, offerState } from "./patient.js";

const WAITING = new Set(["requested", "received"]);
const ENDED_OFFERS = new Set(["rejected", "withdrawn", "expired"]);

/** Every hospital that was asked: what counts now, and folded away the earlier ones that ended. */
export function offers(caseId, list) {
  if (!list.length) return el("p.quiet", t("offers.none"));
  const sorted = [...list].sort((a, b) => b.round - a.round || a.rank - b.rank);
  const newest = sorted[0].round;
  const now = sorted.filter((o) => o.round === newest || !ENDED_OFFERS.has(o.status));
  const before = sorted.filter((o) => !now.includes(o));
  return el(
    "section.offers",
    el("h4", t("offers.title")),
    el("ol", now.map(offerLine)),
    before.length
      ? el(
          "details",
          { "data-key": `${caseId}-before` },
          el("summary.quiet", t("offers.before", { n: before.length })),
          el("ol", before.map(offerLine)),
        )
      : null,
  );
}

function offerLine(offer) {
  return el(
    "li",
    { class: `offer offer-${offer.status}`, "data-key": offer.id },
    el("span.offer-room", roomName(offer.emergency_room)),
    el("span.offer-eta", eta(offer)),
    el("span.offer-state", offerState(offer), WAITING.has(offer.status) ? [" · ", countdown(offer.answer_by_at)] : null),
    offer.assigned_reason && el("small.quiet", t("offer.assigned", { reason: offer.assigned_reason })),
  );
}

/** A case's state, or one it passed; of a received case only what is true: no film, none is read. */
export function stateWords(shown, status = shown.status) {
  return t(status === "received" && !shown.image ? "case.received_no_film" : `case.status.${status}`);
}

/** The heading of a case: number, state, level. */
export function heading(shown, ...more) {
  return el(
    "header.case-heading",
    acuity(shown.acuity),
    el("h3", stateWords(shown)),
    el(
      "p.quiet",
      [
        t("case.unit", { call_sign: shown.call_sign }),
        t("case.number", { id: shown.id.slice(0, 8) }),
        t("case.received_at", { time: time(shown.received_at) }),
      ].join(" · "),
    ),
    outcome(shown.outcome),
    more,
  );
}

/** A link that dials, if there is a number. */
export function call(phone) {
  return phone && el("a.button", { href: `tel:${phone}` }, t("common.call", { phone }));
}

/** What became of the patient, as the ER told the crew. */
export function outcome(told) {
  return told && el("p.note.good.outcome-told", `${t("case.outcome")} `, el("strong", told.diagnosis), ` · ${word("disposition", told.disposition)} · ${time(told.recorded_at)}`);
}
