// How one case looks in its ambulance: the decision first, then everything else. Asks nobody.

import { button, el, place, roomName, t, time, word } from "./page.js";
import { guard } from "./guard.js";
import { messages } from "./messages.js";
import { findings, triage } from "./findings.js";
import { eta, identity, patientLine, vitals } from "./patient.js";
import { call, heading, offers, stateWords } from "./show.js";

export const OVER = new Set(["closed", "cancelled"]);
export const SEEKING = new Set(["received", "offering", "unplaced"]);
const HELD = new Set(["assigned", "acknowledged", "en_route", "arrived"]);
const NEXT = {
  assigned: ["acknowledge", "crew.acknowledge", "acknowledge"],
  acknowledged: ["depart", "crew.depart", "primary big"],
  en_route: ["arrive", "crew.arrive", "primary big"],
  arrived: ["close", "case.status.closed", "primary big"],
};

/** The offer of the ER that holds a case, if one does. */
export function holder(shown) {
  return shown.offers.find((offer) => offer.status === "accepted") ?? shown.elsewhere;
}

/** How far a case is: on this device, sent, received, seen by an ER, decided. */
export function ticks(reached) {
  return el(
    "ol.ticks",
    ["kept", "sent", "received", "seen", "decided"].map((name) => {
      const done = name === "kept" || reached[name];
      return el("li", { class: done ? "done" : "open" }, el("span", { "aria-hidden": "true" }, done ? "✓ " : "○ "), t(`crew.tick.${name}`), done ? null : el("span.visually-hidden", ` (${t("crew.tick.open")})`));
    }),
  );
}

/** A case; `facts`: {rooms, receipt, network} (what to say of the network, or null). */
export function card(shown, { rooms, receipt, network }) {
  const over = OVER.has(shown.status);
  return el(
    "article",
    { class: `card case case-${shown.status}`, "data-key": shown.id, id: `case-${shown.id}` },
    heading(shown),
    over ? null : ticks({ sent: true, received: true, seen: shown.offers.some((offer) => offer.received_at || offer.decided_at), decided: shown.assigned_at }),
    guard(shown),
    decision(shown),
    counters(shown),
    shown.status === "unplaced" && phones(shown, rooms),
    timeline(shown, receipt, network),
    offers(shown.id, shown.offers),
    patientLine(shown),
    identity(shown),
    triage(shown),
    vitals(shown.vitals),
    film(shown.image),
    findings(shown.image),
    over ? null : messages(shown.id, holder(shown)?.rank ? ["emergency_room", "control_room"] : ["control_room"]),
    over ? button("dismiss", t("crew.dismiss"), { case: shown.id }, "link") : onTheWay(shown),
  );
}

/** Name, address, telephone and way of the ER that holds a case, and the crew's next step. */
export function goingTo(shown) {
  const offer = holder(shown);
  const room = offer.emergency_room;
  const here = shown.seems_arrived_at;
  const [path, words, style] = NEXT[here ? "en_route" : shown.status];
  return [
    shown.status !== "arrived" && el("p.way", eta(offer)),
    room.address && el("address", room.address),
    el("p.buttons", call(room.phone), room.latitude && route(room)),
    button("step", t(here ? "crew.arrived_ask" : words), { case: shown.id, step: path, key: `${shown.id}-${path}` }, style),
  ];
}

function decision(shown) {
  const offer = holder(shown);
  if (!offer || !HELD.has(shown.status)) return null;
  return el(
    "section",
    { class: `decision decision-${shown.status}` },
    el("strong", t(shown.status === "assigned" ? "crew.acknowledge_hint" : "crew.going_to", { name: roomName(offer.emergency_room) })),
    goingTo(shown),
    offer.reason && el("p", offer.reason),
    instructions(shown),
    offer.rank && el(
      "details.give-back",
      { "data-key": `${shown.id}-give-back` },
      el("summary.link", t("crew.give_back")),
      answer(offer, shown, "pass", "crew.give_back_confirm"),
    ),
  );
}

/** Opens the phone's own map; nobody is asked by us. iOS knows no geo: links. */
function route(room) {
  const at = `${room.latitude},${room.longitude}`;
  const apple = /iPad|iPhone|iPod/.test(navigator.userAgent) || (navigator.platform === "MacIntel" && navigator.maxTouchPoints > 1);
  const href = apple ? `maps://?daddr=${at}` : `geo:${at}?q=${at}(${encodeURIComponent(roomName(room))})`;
  return el("a.button", { href }, t("crew.route"));
}

/** What the ER asks of us before arrival. */
function instructions(shown) {
  const asked = shown.instructions;
  if (!asked || (!asked.items.length && !asked.note)) return null;
  return el(
    "div.instructions",
    { "data-key": `${shown.id}-instructions` },
    el("strong", t("crew.instructions")),
    el("ul", asked.items.map((item) => el("li", t(`instruction.${item}`)))),
    asked.note && el("p.body", asked.note),
    asked.seen_at
      ? el("p.quiet", t("crew.instructions_seen", { time: time(asked.seen_at) }))
      : button("step", t("crew.instructions_read"), { case: shown.id, step: "instructions/seen" }, "primary big"),
  );
}

const answer = (offer, shown, name, words, style) =>
  button("answerCounter", t(words), { answer: name, offer: offer.id, case: shown.id }, style);

/** "Yes, in N minutes": to be taken or passed. */
export function counters(shown) {
  if (!SEEKING.has(shown.status)) return [];
  return shown.offers
    .filter((offer) => offer.status === "accepted_with_delay")
    .map((offer) =>
      el(
        "section.counter",
        { "data-key": `counter-${offer.id}` },
        el("strong", t("crew.counter", { name: roomName(offer.emergency_room), n: offer.delay_min })),
        el("div.buttons", answer(offer, shown, "take", "crew.counter_take", "primary"), answer(offer, shown, "pass", "crew.counter_pass")),
      ),
    );
}

/** The ERs' telephones, nearest first: nobody has accepted. */
export function phones(shown, rooms) {
  const far = ({ id }) => shown.offers.find((o) => o.emergency_room.id === id)?.eta_min ?? 999;
  const nearest = rooms
    .filter((room) => room.phone)
    .sort((a, b) => far(a) - far(b))
    .slice(0, 6)
    .map((room) => el("li", el("a.button", { href: `tel:${room.phone}` }, `${roomName(room)} ${room.phone}`)));
  return el(
    "section.phone-card",
    el("strong", t("crew.phone_card")),
    el("ul", nearest),
    el("p.quiet", t("crew.phone_goes_on")),
  );
}

/** The film as sent, small; its boxes are in the full size. */
function film(image) {
  if (!image) return null;
  const source = `${image.url}?v=${image.sha256.slice(0, 12)}-${image.boxes.length}`;
  return el(
    "p.film-small",
    el("a", { href: `${source}&boxes=1`, target: "_blank", rel: "noopener" }, el("img", { src: `${source}&width_px=256`, alt: t("film.open"), class: "preview" })),
    image.unusable_reason && el("span.note.warn", t("film.unusable", { reason: word("unusable", image.unusable_reason) })),
  );
}

function timeline(shown, receipt, network) {
  const steps = [
    ["received", shown.received_at],
    ["offering", shown.first_offer_at],
    ...["assigned", "acknowledged", "arrived"].map((name) => [name, shown[`${name}_at`]]),
    [OVER.has(shown.status) ? shown.status : "closed", shown.ended_at],
  ].filter(([, at]) => at);
  const hash = receipt?.image_sha256?.slice(0, 12);
  return el(
    "section.timeline",
    el("p.receipt", t("case.receipt", { time: time(shown.received_at) }), " ", network, hash && el("small", ` ${t("case.receipt_hash", { hash })}`)),
    el("ol", steps.map(([name, at]) => el("li", el("time", { datetime: at }, time(at)), " ", stateWords(shown, name)))),
    OVER.has(shown.status) && shown.ended_reason && el("p.quiet", shown.ended_reason),
  );
}

function onTheWay(shown) {
  return el(
    "div.more-actions",
    fold("update", shown),
    el(
      "label.button.small",
      { "data-key": `${shown.id}-film` },
      t(shown.image ? "crew.film_replace" : "crew.film_add"),
      el("input", { type: "file", accept: "image/png,image/jpeg,.dcm,application/dicom", "data-film-of": shown.id }),
    ),
    !["en_route", "arrived"].includes(shown.status) &&
      fold("cancel", shown, "link.danger"),
    shown.elsewhere ? fold("outside", shown) : SEEKING.has(shown.status) && fold("elsewhere", shown),
  );
}

/** A form of the page's templates for one case; what is typed in it stays when the card is repainted. */
function fold(name, shown, style = "link") {
  const made = place(`${name}-template`).content.cloneNode(true).firstElementChild;
  made.dataset.case = shown.id;
  made.dataset.keep = "";
  return el("details", { "data-key": `${shown.id}-${name}` }, el(`summary.${style}`, t(`crew.${name}`)), made);
}
