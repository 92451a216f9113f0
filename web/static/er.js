// The ER's page: who waits for an answer, who is coming, what has ended.
// "Yours" is painted only from a server's answer; an older version of a case never replaces a newer.

import {
  actions,
  api,
  config,
  countdown,
  el,
  notice,
  paint,
  press,
  Problem,
  roomName,
  serverNow,
  session,
  t,
  time,
} from "./page.js";
import { follow, heard } from "./live.js";
import { loadMessages, messages, wireMessages } from "./messages.js";
import { acuity, acuityWords, clinical, eta, offerState, toggleBoxes } from "./show.js";
import { ring, soundButton, wireSound } from "./sound.js";

const WAITING = new Set(["requested", "received"]);
const OVER = new Set(["closed", "cancelled"]);
const DELAYS_MIN = [5, 10, 15, 30];

const offers = new Map(); // open and held ones, with their case
let ended = [];
let room = null;
const painted = new Set(); // offers that the server knows to be on this screen
const title = document.title;
const linked = new URLSearchParams(location.search).get("offer"); // by a mail or a pager

function isEnded(offer) {
  return !offer.case || OVER.has(offer.case.status);
}

/** Keep what the server said, unless we know something newer. */
function keep(offer) {
  const known = offers.get(offer.id);
  if (offer.case && known?.case && offer.case.version < known.case.version) return;
  if (!known && !isEnded(offer) && ended.some((e) => e.id === offer.id)) return;
  if (!isEnded(offer)) {
    offers.set(offer.id, offer);
    return;
  }
  offers.delete(offer.id);
  ended = [offer, ...ended.filter((e) => e.id !== offer.id)].slice(0, 10);
}

async function fetchOffer(id) {
  try {
    keep(await api("GET", `/offers/${id}`));
    heard();
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (problem.status === 404) offers.delete(id);
  }
  show();
}

async function reload() {
  try {
    const [open, all, rooms] = await Promise.all([
      api("GET", "/offers?open=true&limit=200"),
      api("GET", "/offers?open=false&limit=30"),
      api("GET", "/emergency-rooms"),
    ]);
    heard();
    room = rooms.find((r) => r.id === config.emergency_room_id) ?? null;
    const listed = new Set(open.map((o) => o.id));
    for (const id of [...offers.keys()]) if (!listed.has(id)) offers.delete(id);
    ended = all.filter((o) => !listed.has(o.id)).slice(0, 10);
    await Promise.all(open.map((o) => fetchOffer(o.id)));
    for (const offer of offers.values()) {
      if (offer.status === "accepted") loadMessages(offer.case_id, show);
    }
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
  }
  show();
}

function onEvent(entry) {
  if (entry.type === "diversion") reload();
  else if (entry.type.startsWith("message.")) loadMessages(entry.case_id, show);
  else if (entry.body.offer_id) {
    if (entry.type === "offer.assigned") notice(t("er.assigned", { reason: entry.body.reason }), "bad");
    if (entry.type === "offer.requested") notice(t("er.new_request", { level: acuityWords(entry.body.acuity) }));
    fetchOffer(entry.body.offer_id);
  } else {
    for (const offer of offers.values()) if (offer.case_id === entry.case_id) fetchOffer(offer.id);
  }
}

function show() {
  const all = [...offers.values()];
  const open = all
    .filter((o) => o.status !== "accepted")
    .sort(
      (a, b) =>
        Number(WAITING.has(b.status)) - Number(WAITING.has(a.status)) ||
        (a.case.acuity ?? 3) - (b.case.acuity ?? 3) ||
        a.answer_by_at.localeCompare(b.answer_by_at),
    );
  const waiting = open.filter((o) => WAITING.has(o.status)).length;
  const held = all
    .filter((o) => o.status === "accepted")
    .sort((a, b) => b.decided_at.localeCompare(a.decided_at));

  paint(document.getElementById("er-bar"), bar());
  paint(
    document.getElementById("waiting-title"),
    t("er.waiting"),
    waiting ? el("span", { class: "badge loud" }, waiting) : null,
  );
  document.getElementById("waiting-section").classList.toggle("loud", waiting > 0);
  paint(
    document.getElementById("waiting"),
    open.length ? open.map(openCard) : el("p", { class: "quiet empty" }, t("er.nothing_waiting")),
  );
  paint(
    document.getElementById("held"),
    held.length ? held.map(heldCard) : el("p", { class: "quiet empty" }, t("er.held_none")),
  );
  paint(
    document.getElementById("recent"),
    ended.length
      ? el("ul", { class: "recent" }, ended.map(endedLine))
      : el("p", { class: "quiet empty" }, t("er.recent_none")),
  );
  document.title = waiting ? `(${waiting}) ${t("er.waiting_count", { n: waiting })} · ${title}` : title;
  ring(waiting > 0);
  sayReceived();
}

function bar() {
  const until = room?.diversion_until_at;
  const diverted = until && Date.parse(until) > serverNow();
  return [
    el(
      "p",
      { class: diverted ? "diverted" : "quiet" },
      room ? el("strong", {}, `${roomName(room)} · `) : null,
      diverted ? t("er.diversion_until", { time: time(until) }) : t("er.diversion_none"),
    ),
    el(
      "button",
      { type: "button", "data-do": "diversion", "data-on": String(!diverted) },
      diverted ? t("er.diversion_off") : t("er.diversion_on"),
    ),
    soundButton(),
  ];
}

function openCard(offer) {
  const waits = WAITING.has(offer.status);
  const late = Date.parse(offer.answer_by_at) <= serverNow();
  return el(
    "article",
    {
      class: `card offer-card${waits ? " waiting" : ""}${offer.id === linked ? " linked" : ""}`,
      tabindex: "-1",
      "data-key": offer.id,
    },
    el(
      "header",
      { class: "offer-heading" },
      acuity(offer.case.acuity),
      el("span", { class: "eta" }, eta(offer)),
      el(
        "span",
        { class: "answer-by" },
        waits ? [el("small", {}, `${t("er.answer_by")} `), countdown(offer.answer_by_at)] : null,
      ),
      el(
        "p",
        { class: "quiet" },
        [
          t("case.unit", { call_sign: offer.case.call_sign }),
          t("case.number", { id: offer.case_id.slice(0, 8) }),
          time(offer.offered_at),
        ].join(" · "),
      ),
    ),
    waits && late ? el("p", { class: "note" }, t("er.late")) : null,
    waits ? null : el("p", { class: "note warn" }, t("er.counter_waits", { n: offer.delay_min })),
    clinical(offer.case),
    answers(offer, waits),
  );
}

function answers(offer, waits) {
  const decide = (decision, more, ...children) =>
    el(
      "button",
      {
        type: "button",
        "data-do": "decide",
        "data-offer": offer.id,
        "data-decision": decision,
        "data-key": `${offer.id}-${decision}-${Object.values(more).join()}`,
        ...more,
      },
      ...children,
    );
  return el(
    "div",
    { class: "answers" },
    decide(
      "accept",
      { class: "accept" },
      el("b", {}, t("er.accept")),
      el("small", { lang: config.language === "ko" ? "en" : "ko" }, ` ${t("er.accept_sub")}`),
    ),
    waits
      ? el(
          "div",
          { class: "delays", role: "group", "aria-label": t("er.accept_in") },
          el("span", { "aria-hidden": "true" }, t("er.accept_in")),
          DELAYS_MIN.map((n) =>
            decide("accept_with_delay", { "data-delay": n, class: "delay" }, t("common.minutes", { n })),
          ),
        )
      : null,
    el(
      "details",
      { class: "cannot", "data-key": `${offer.id}-cannot` },
      el(
        "summary",
        { class: "button" },
        t("er.cannot"),
        el("small", { lang: config.language === "ko" ? "en" : "ko" }, ` ${t("er.cannot_sub")}`),
      ),
      el("p", { class: "quiet" }, t("er.cannot_why")),
      el(
        "div",
        { class: "reasons" },
        config.reasons.map((code) => decide("reject", { "data-reason": code }, t(`decline.${code}`))),
      ),
    ),
  );
}

function heldCard(offer) {
  const status = offer.case.status;
  const state =
    status === "assigned" ? "er.yours_unacknowledged" : `er.yours_${status}`;
  return el(
    "article",
    { class: `card held held-${status}`, tabindex: "-1", "data-key": offer.id },
    el(
      "header",
      { class: "offer-heading" },
      acuity(offer.case.acuity),
      el("span", { class: "eta" }, eta(offer)),
      el("strong", { class: "yours" }, t(state)),
      el(
        "p",
        { class: "quiet" },
        [
          t("case.unit", { call_sign: offer.case.call_sign }),
          t("case.number", { id: offer.case_id.slice(0, 8) }),
          time(offer.decided_at),
        ].join(" · "),
      ),
    ),
    clinical(offer.case),
    messages(offer.case_id, ["ambulance", "control_room"]),
    status === "arrived"
      ? el(
          "button",
          { type: "button", class: "primary", "data-do": "handedOver", "data-case": offer.case_id, "data-offer": offer.id },
          t("case.status.closed"),
        )
      : el(
          "details",
          { class: "cannot", "data-key": `${offer.id}-withdraw` },
          el("summary", { class: "link" }, t("er.withdraw")),
          el("p", { class: "quiet" }, t("er.withdraw_why")),
          el(
            "div",
            { class: "reasons" },
            config.reasons.map((code) =>
              el(
                "button",
                {
                  type: "button",
                  "data-do": "withdraw",
                  "data-offer": offer.id,
                  "data-reason": code,
                },
                t(`decline.${code}`),
              ),
            ),
          ),
        ),
  );
}

function endedLine(offer) {
  const over = offer.status === "accepted";
  const words = over && offer.case ? t(`case.status.${offer.case.status}`) : offerState(offer);
  return el(
    "li",
    { tabindex: "-1", "data-key": offer.id },
    el("span", {}, t("case.number", { id: offer.case_id.slice(0, 8) })),
    " ",
    el("span", { class: "quiet" }, time(offer.decided_at ?? offer.offered_at)),
    " ",
    el("span", {}, over && !offer.case ? t("er.yours") : words),
  );
}

/** Bring the offer of a link before the eyes, wherever it stands by now, or say that it does not. */
async function openLinked() {
  const find = () => document.querySelector(`[data-key="${CSS.escape(linked)}"]`);
  if (!find()) await fetchOffer(linked);
  const place = find();
  if (!place) return notice(t("er.linked_unknown"), "bad");
  place.scrollIntoView({ block: "start" });
  place.focus({ preventScroll: true });
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

actions.toggleBoxes = (button) => {
  toggleBoxes(button.dataset.case);
  show();
};

actions.decide = (button) => {
  const { offer: id, decision, delay, reason } = button.dataset;
  return press(button, async () => {
    const body = { decision };
    if (delay) body.delay_min = Number(delay);
    if (reason) body.reason_code = reason;
    try {
      keep(await api("POST", `/offers/${id}/decision`, body));
      show();
    } finally {
      await fetchOffer(id); // whatever happened, show what is true now
    }
  });
};

actions.withdraw = (button) =>
  press(button, async () => {
    const { offer: id, reason } = button.dataset;
    try {
      await api("POST", `/offers/${id}/withdraw`, { reason_code: reason });
    } finally {
      await fetchOffer(id);
    }
  });

actions.handedOver = (button) =>
  press(button, async () => {
    try {
      await api("POST", `/cases/${button.dataset.case}/close`);
    } finally {
      await fetchOffer(button.dataset.offer);
    }
  });

actions.diversion = (button) =>
  press(button, async () => {
    const on = button.dataset.on === "true";
    room = await api("POST", `/emergency-rooms/${config.emergency_room_id}/diversion`, { on });
    show();
  });

wireMessages(show);
wireSound(show);
session()
  .then((who) => paint(document.getElementById("who"), who.display_name))
  .catch(() => {});
await reload();
if (linked) await openLinked();
follow({ onEvent, reload });
setInterval(() => offers.size && show(), 15000); // "late" and "diverted" depend on the time
