// The ER's page: who waits for an answer, who is coming, what has ended; one of them open beside it.
// "Yours" is painted only from a server's answer; an older version of a case never replaces a newer,
// and a page that does not know the present state decides nothing.

import { actions, api, config, countdown, el, notice, paint, press, Problem, session, t, time } from "./page.js";
import { follow, heard, showConnection } from "./live.js";
import { loadMessages, unread, wireMessages } from "./messages.js";
import { acuity, acuityWords, offerState, patientLine } from "./patient.js";
import { bar, keepRoom, wireBar } from "./er_bar.js";
import { afterPaint, detail, wireCase } from "./er_case.js";
import { ring } from "./sound.js";

const WAITING = new Set(["requested", "received"]);
const OVER = new Set(["closed", "cancelled"]);
const ARMING_MS = 600; // what came up by itself may not be pressed by a finger that was under way
const NARROW = matchMedia("(max-width: 900px)");

const offers = new Map(); // open and held ones, with their case
let ended = [];
let selected = null; // an offer's id
let listed = false; // somebody went back to the list
let arming = null;
const unconfirmed = new Map(); // decisions whose answer got lost: offer to what was asked
const painted = new Set(); // offers that the server knows to be on this screen
const unseen = new Set(); // new ones that nobody has looked at
const placed = new Set(); // given to us by the control room, and nobody has looked yet
const title = document.title;
const linked = new URLSearchParams(location.search).get("offer"); // by a mail or a pager
const place = (id) => document.getElementById(id);

function isEnded(offer) {
  return !offer.case || OVER.has(offer.case.status);
}

/** Keep what the server said, unless we know something newer. */
function keep(offer) {
  const known = offers.get(offer.id);
  if (offer.case && known?.case && offer.case.version < known.case.version) return;
  if (!known && !isEnded(offer) && ended.some((e) => e.id === offer.id)) return;
  if (!isEnded(offer)) {
    if (!known && WAITING.has(offer.status)) unseen.add(offer.id);
    offers.set(offer.id, offer);
    return;
  }
  offers.delete(offer.id);
  ended = [offer, ...ended.filter((e) => e.id !== offer.id)].slice(0, 30);
}

async function fetchOffer(id) {
  try {
    keep(await api("GET", `/offers/${id}`));
    unconfirmed.delete(id); // one offer's answer says nothing of the others: not heard()
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (problem.status === 404) offers.delete(id);
  }
  show();
}

async function reload({ first = false } = {}) {
  try {
    const [open, rooms] = await Promise.all([
      api("GET", "/offers?open=true&cases=true&limit=200"),
      api("GET", "/emergency-rooms"),
    ]);
    heard();
    keepRoom(rooms.find((r) => r.id === config.emergency_room_id));
    const listed = new Set(open.map((o) => o.id));
    for (const id of [...offers.keys()]) if (!listed.has(id)) offers.delete(id);
    ended = ended.filter((o) => !listed.has(o.id));
    open.forEach(keep);
    if (first) unseen.clear(); // what was there when the page came is what one opened it for
    for (const offer of open) {
      unconfirmed.delete(offer.id);
      if (offer.status === "accepted") loadMessages(offer.case_id, show);
    }
    show(); // nobody waits for what has ended
    const all = await api("GET", "/offers?open=false&cases=true&limit=40");
    ended = all.filter((o) => !offers.has(o.id) && isEnded(o)).slice(0, 30);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
  }
  show();
}

function onEvent(entry) {
  if (["diversion", "beds", "beds.changed"].includes(entry.type)) reload();
  else if (entry.type.startsWith("message.")) loadMessages(entry.case_id, show);
  else if (entry.body.offer_id) {
    const id = entry.body.offer_id;
    if (entry.type === "offer.assigned") placed.add(id);
    if (entry.type === "offer.assigned") notice(t("er.assigned", { reason: entry.body.reason }), "bad");
    if (entry.type === "offer.requested") notice(t("er.new_request", { level: acuityWords(entry.body.acuity) }), "good", "new");
    if (entry.type === "offer.reminded") unseen.add(id);
    if (["offer.withdrawn", "offer.expired"].includes(entry.type)) gone(id, entry.body.offer_status, entry.body.reason);
    fetchOffer(id);
  } else {
    for (const offer of offers.values()) if (offer.case_id === entry.case_id) fetchOffer(offer.id);
  }
}

/** What a withdrawal says needs no further question: nobody may act on it for a moment longer. */
function gone(id, status, reason) {
  if (!offers.has(id)) return;
  const { case: _, ...rest } = offers.get(id);
  keep({ ...rest, status, ended_reason: reason ?? null });
  show();
}

/** Those that wait for us first, the most urgent and the shortest time first of all. */
function sorted() {
  const open = [...offers.values()].filter((o) => o.status !== "accepted");
  return open.sort(
    (a, b) =>
      Number(WAITING.has(b.status)) - Number(WAITING.has(a.status)) ||
      (a.case.acuity ?? 3) - (b.case.acuity ?? 3) ||
      a.answer_by_at.localeCompare(b.answer_by_at),
  );
}

const find = (id) => offers.get(id) ?? ended.find((offer) => offer.id === id);

function show() {
  const open = sorted();
  const waiting = open.filter((o) => WAITING.has(o.status));
  const held = [...offers.values()]
    .filter((o) => o.status === "accepted")
    .sort((a, b) => b.decided_at.localeCompare(a.decided_at));
  // A narrow screen shows the list or a case: the case by itself only where there is just one.
  const alone = !listed && waiting.length === 1 && !held.length;
  if (!selected && (alone || !NARROW.matches)) select((open[0] ?? held[0])?.id ?? null);

  paint(place("er-bar"), bar());
  paint(
    place("waiting-title"),
    t("er.waiting"),
    waiting.length ? el("span", { class: "badge loud" }, waiting.length) : null,
  );
  list("waiting", open, row, "er.nothing_waiting");
  list("held", held, row, "er.held_none");
  list("recent", ended, endedRow, "er.recent_none");
  const offer = find(selected);
  place("er").classList.toggle("has-detail", Boolean(offer));
  paint(place("detail"), detail(offer, { unconfirmed: unconfirmed.get(selected) }));
  afterPaint(place("detail"), offer);
  document.title = waiting.length ? `(${waiting.length}) ${t("er.waiting_count", { n: waiting.length })} · ${title}` : title;
  for (const id of unseen) if (!offers.has(id) || !WAITING.has(offers.get(id).status)) unseen.delete(id);
  ring([...[...unseen].map((id) => offers.get(id).case.acuity ?? 3), ...[...placed].map(() => 1)]);
  sayReceived();
}

function list(id, rows, make, none) {
  paint(place(id), rows.length ? el("ol", { class: "rows" }, rows.map(make)) : el("p", { class: "quiet empty" }, t(none)));
}

function minutes({ way }) {
  return way ? t(`common.minutes_${way.source}`, { n: Math.round(way.eta_min) }) : "–";
}

function rowOf(offer, ...parts) {
  const current = offer.id === selected;
  return el(
    "li",
    { "data-key": `row-${offer.id}`, class: `row${unseen.has(offer.id) ? " unseen" : ""}${offer.id === linked ? " linked" : ""}` },
    el("button", { type: "button", class: "row-button", "data-do": "select", "data-offer": offer.id, "data-id": offer.case_id, "aria-current": current ? "true" : null }, parts),
  );
}

function row(offer) {
  const shown = offer.case;
  const state =
    offer.status === "accepted"
      ? t(shown.status === "assigned" ? "er.row_unacknowledged" : `case.status.${shown.status}`)
      : WAITING.has(offer.status)
        ? countdown(offer.answer_by_at)
        : t("offer.status.accepted_with_delay", { n: offer.delay_min });
  const news = unread(offer.case_id);
  return rowOf(
    offer,
    acuity(shown.acuity),
    el("span", { class: "row-who" }, patientLine(shown)),
    el("span", { class: "row-when" }, shown.status === "arrived" ? null : el("b", {}, minutes(offer)), el("small", {}, state)),
    news ? el("span", { class: "badge" }, news) : null,
  );
}

function endedRow(offer) {
  const held = offer.status === "accepted";
  return rowOf(
    offer,
    el("span", { class: "row-who" }, held && offer.case ? t(`case.status.${offer.case.status}`) : offerState(offer)),
    el("small", { class: "quiet" }, `${t("case.number", { id: offer.case_id.slice(0, 8) })} · ${time(offer.decided_at ?? offer.offered_at)}`),
  );
}

function select(id, { byHand = false } = {}) {
  if (id === selected) return;
  selected = id;
  clearTimeout(arming);
  if (byHand) arm();
  else {
    document.body.dataset.arming = "";
    arming = setTimeout(arm, ARMING_MS);
  }
  if (byHand) unseen.delete(id);
}

/** The answers may be pressed from now on. */
function arm() {
  delete document.body.dataset.arming;
  for (const answer of document.querySelectorAll("[data-decision][aria-disabled]")) answer.removeAttribute("aria-disabled");
}

/** Bring the offer of a link before the eyes, wherever it stands by now, or say that it does not. */
async function openLinked() {
  if (!find(linked)) await fetchOffer(linked);
  if (!find(linked)) return notice(t("er.linked_unknown"), "bad");
  select(linked);
  show();
  const card = place("detail").firstElementChild;
  card.scrollIntoView({ block: "start" });
  card.focus({ preventScroll: true });
}

/** Tell the server (and so the crew) what is on this screen, once somebody can see it. */
function sayReceived() {
  if (document.hidden) return;
  for (const offer of offers.values()) {
    if (offer.status !== "requested" || painted.has(offer.id)) continue;
    painted.add(offer.id);
    requestAnimationFrame(() =>
      api("POST", `/offers/${offer.id}/received`)
        .then(() => fetchOffer(offer.id))
        .catch(() => painted.delete(offer.id)),
    );
  }
}

document.addEventListener("visibilitychange", sayReceived);
document.addEventListener("connection", show); // "yours" is said only while it is known
// A hand on this screen has seen what is on it: the tone stops until something new comes.
for (const sign of ["pointerdown", "keydown"]) {
  document.addEventListener(sign, () => {
    if (unseen.size || placed.size) setTimeout(() => (unseen.clear(), placed.clear(), show()), 300);
  });
}

actions.select = (button) => {
  select(button.dataset.offer, { byHand: true });
  show();
  if (NARROW.matches) scrollTo(0, 0);
};
actions.list = () => {
  listed = true;
  selected = null;
  show();
};

actions.decide = (button) => {
  const { offer: id, decision, delay, reason } = button.dataset;
  if (document.body.classList.contains("state-unknown")) return notice(t("er.state_unknown"), "bad");
  return press(button, async () => {
    const body = { decision, basis: offers.get(id)?.basis };
    if (delay) body.delay_min = Number(delay);
    if (reason) body.reason_code = reason;
    try {
      keep(await api("POST", `/offers/${id}/decision`, body));
      if (decision !== "accept" && id === selected) select(sorted().find((o) => WAITING.has(o.status))?.id ?? id);
      show();
    } catch (problem) {
      if (problem.code === "network") unconfirmed.set(id, decision);
      // Refused: this page was behind, and may be so still.
      if (["already_taken", "offer_gone"].includes(problem.code)) gone(id, "withdrawn", problem.more.reason ?? "placed_elsewhere");
      throw problem;
    } finally {
      await fetchOffer(id); // whatever happened, show what is true now
    }
  });
};

actions.withdraw = (button) => change(button, "POST", `/offers/${button.dataset.offer}/withdraw`, { reason_code: button.dataset.reason });
actions.handedOver = (button) => change(button, "POST", `/cases/${button.dataset.case}/close`);

/** A change of the open offer's case; afterwards the screen shows what is true, whatever happened. */
function change(button, method, path, body) {
  const id = selected;
  return press(button, async () => {
    try {
      await api(method, path, body);
    } finally {
      await fetchOffer(id);
    }
  });
}

/** Up and down in the list of those that can be opened. */
function step(by) {
  const ids = [...document.querySelectorAll("#waiting .row-button, #held .row-button, #recent .row-button")].map((b) => b.dataset.offer);
  const next = ids[Math.min(Math.max(ids.indexOf(selected) + by, 0), ids.length - 1)];
  if (!next) return;
  select(next, { byHand: true });
  show();
  document.querySelector(`.row-button[data-offer="${next}"]`)?.scrollIntoView({ block: "nearest" });
}

wireCase({ change, step, show });
wireBar(show);
wireMessages(show);
session()
  .then((who) => paint(place("who"), who.display_name))
  .catch(() => {});
showConnection(false);
await reload({ first: true });
if (linked) await openLinked();
follow({ onEvent, reload });
setInterval(() => unconfirmed.forEach((_, id) => fetchOffer(id)), 2000);
setInterval(show, 15000); // "late", "diverted" and "muted" depend on the time
