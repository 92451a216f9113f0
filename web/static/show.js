// How a case looks, the same for crew, ER and control room. Nothing here asks the server anything.

import { countdown, el, roomName, t, time, word } from "./page.js";
import { findings, triage } from "./findings.js";
import { acuity, identity, offerState, patientLine, vitals } from "./patient.js";

export * from "./findings.js";
export * from "./patient.js";

/** Which films are shown with their boxes, by case id. */
const withBoxes = new Map();

/** Show or hide the boxes of a case's film. */
export function toggleBoxes(caseId) {
  withBoxes.set(caseId, !showsBoxes(caseId));
}

function showsBoxes(caseId) {
  return withBoxes.get(caseId) ?? true;
}

/** The film, with its boxes unless switched off. */
export function film(shown) {
  const image = shown.image;
  if (!image) return el("p", { class: "quiet no-film" }, t("film.none"));
  const id = shown.id.slice(0, 8);
  const boxes = image.boxes.filter((box) => box.above_threshold).length;
  const drawn = boxes > 0 && showsBoxes(shown.id);
  // The film under an address may be replaced and its boxes may come later: v tells them apart.
  const plain = `${image.url}?v=${image.sha256.slice(0, 12)}-${boxes}`;
  const source = (width) => `${plain}&width_px=${width}${drawn ? "&boxes=1" : ""}`;
  const detected = image.readings.find((reading) => reading.kind === "detect");
  return el(
    "figure",
    { class: "film" },
    el(
      "a",
      { href: drawn ? `${plain}&boxes=1` : plain, target: "_blank", rel: "noopener", title: t("film.open") },
      el("img", {
        src: source(768),
        alt: t(drawn ? "film.alt_boxes" : "film.alt", { id }),
        width: image.width_px,
        height: image.height_px,
      }),
    ),
    el(
      "figcaption",
      {},
      boxes > 0
        ? el(
            "button",
            {
              type: "button",
              "data-do": "toggleBoxes",
              "data-case": shown.id,
              "aria-pressed": String(drawn),
            },
            drawn ? t("film.boxes_off") : t("film.boxes_on", { n: boxes }),
          )
        : detected?.status === "done"
          ? el("span", { class: "quiet" }, t("film.boxes_none"))
          : null,
      image.unusable_reason
        ? el(
            "p",
            { class: "note warn" },
            t("film.unusable", { reason: word("unusable", image.unusable_reason) }),
          )
        : null,
    ),
  );
}

/** Film and AI on one side, vitals and triage on the other; `meaning` is meaning.js, if wanted. */
export function clinical(shown, meaning = {}) {
  return el(
    "div",
    { class: "clinical" },
    el("div", { class: "clinical-film" }, film(shown)),
    el(
      "div",
      { class: "clinical-facts" },
      patientLine(shown),
      identity(shown),
      vitals(shown.vitals),
      findings(shown.image, meaning.scores),
      triage(shown, meaning.rules),
    ),
  );
}

/** What the ER says became of the patient. */
export function outcome({ outcome: told }) {
  if (!told) return null;
  return el("p", { class: "note good outcome-told" }, el("strong", {}, t("case.outcome")), ` ${told.diagnosis} · ${word("disposition", told.disposition)} (${time(told.recorded_at)})`);
}

export function eta(offer) {
  return offer.eta_min === null
    ? t("common.eta_unknown")
    : t("common.eta", { n: Math.round(offer.eta_min) });
}

const WAITING = new Set(["requested", "received"]);
const ENDED_OFFERS = new Set(["rejected", "withdrawn", "expired"]);

/** Every hospital that was asked: what counts now, and folded away the earlier ones that ended. */
export function offers(caseId, list) {
  if (!list.length) return el("p", { class: "quiet" }, t("offers.none"));
  const sorted = [...list].sort((a, b) => b.round - a.round || a.rank - b.rank);
  const newest = sorted[0].round;
  const now = sorted.filter((o) => o.round === newest || !ENDED_OFFERS.has(o.status));
  const before = sorted.filter((o) => !now.includes(o));
  return el(
    "section",
    { class: "offers" },
    el("h4", {}, t("offers.title")),
    el("ol", {}, now.map(offerLine)),
    before.length
      ? el(
          "details",
          { "data-key": `${caseId}-before` },
          el("summary", { class: "quiet" }, t("offers.before", { n: before.length })),
          el("ol", {}, before.map(offerLine)),
        )
      : null,
  );
}

function offerLine(offer) {
  return el(
    "li",
    { class: `offer offer-${offer.status}`, "data-key": offer.id },
    el("span", { class: "offer-room" }, roomName(offer.emergency_room)),
    el("span", { class: "offer-eta" }, eta(offer)),
    el("span", { class: "offer-state" }, offerState(offer), WAITING.has(offer.status) ? [" · ", countdown(offer.answer_by_at)] : null),
    offer.assigned_reason
      ? el("small", { class: "quiet" }, t("offer.assigned", { reason: offer.assigned_reason }))
      : null,
  );
}

/** A case's state, or one it passed; of a received case only what is true: no film, none is read. */
export function stateWords(shown, status = shown.status) {
  return t(status === "received" && !shown.image ? "case.received_no_film" : `case.status.${status}`);
}

/** The heading of a case: number, state, level. */
export function heading(shown, ...more) {
  return el(
    "header",
    { class: "case-heading" },
    acuity(shown.acuity),
    el("h3", {}, stateWords(shown)),
    el(
      "p",
      { class: "quiet" },
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

/** What became of the patient, as the ER told the crew. */
function outcome(told) {
  return told
    ? el("p", { class: "note outcome-told" }, el("strong", {}, told.diagnosis), ` · ${word("disposition", told.disposition)} · ${time(told.recorded_at)}`)
    : null;
}
