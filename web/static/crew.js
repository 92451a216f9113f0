// The crew's page: send a case, follow it, acknowledge, drive.

import { Refusal } from "./ask.js";
import {
  actions,
  api,
  config,
  el,
  notice,
  paint,
  press,
  Problem,
  roomName,
  t,
  time,
  wordsOf,
} from "./page.js";
import { follow, heard, showConnection, signedOut } from "./live.js";
import { clearForm, editForm, restoreDraft, wireForm, vitalsOf } from "./case_form.js";
import { loadMessages, messages, wireMessages } from "./messages.js";
import * as out from "./outbox.js";
import { lasting } from "./vault.js";
import { clinical, heading, offers, stateWords, toggleBoxes } from "./show.js";

const OVER = new Set(["closed", "cancelled"]);
const HELD = new Set(["assigned", "acknowledged", "en_route", "arrived"]);
const SEEKING = new Set(["received", "offering", "unplaced"]);
const URGENCY = ["assigned", "unplaced", "offering", "received", "acknowledged", "en_route", "arrived"];

const cases = new Map();
const receipts = new Map();
const filmsOnTheWay = new Set(); // case ids whose film is sent from its card just now
const accepted = new Set(); // just now: to be brought into view once painted
let rooms = [];

/** Keep what the server said, unless we know something newer. */
function keep(found) {
  const known = cases.get(found.id);
  if (known && found.version < known.version) return;
  if (found.status === "assigned" && known && known.status !== "assigned") accepted.add(found.id);
  cases.set(found.id, found);
}

async function fetchCase(id) {
  try {
    keep(await api("GET", `/cases/${id}`));
    heard();
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
  }
  show();
}

async function reload() {
  try {
    const [live, all] = await Promise.all([
      api("GET", "/cases?live=true&limit=50"),
      rooms.length ? rooms : api("GET", "/emergency-rooms"),
    ]);
    heard();
    rooms = all;
    live.forEach(keep);
    const listed = new Set(live.map((c) => c.id));
    // What ended while nobody listened: fetch it once, so that its end is shown.
    await Promise.all(
      [...cases.values()]
        .filter((c) => !listed.has(c.id) && !OVER.has(c.status))
        .map((c) => fetchCase(c.id)),
    );
    for (const id of listed) loadMessages(id, show);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
  }
  show();
}

function onEvent(entry) {
  if (!entry.case_id) return;
  if (entry.type.startsWith("message.")) loadMessages(entry.case_id, show);
  else fetchCase(entry.case_id);
  if (entry.type === "alarm.unacknowledged") navigator.vibrate?.([300, 100, 300, 100, 300]);
}

function show() {
  paint(document.getElementById("outbox"), [
    lasting() ? null : el("p", { class: "note warn" }, t("crew.outbox_fleeting")),
    out.outbox.map(waitingToBeSent),
  ]);
  const list = [...cases.values()].sort(
    (a, b) =>
      Number(OVER.has(a.status)) - Number(OVER.has(b.status)) ||
      URGENCY.indexOf(a.status) - URGENCY.indexOf(b.status) ||
      b.received_at.localeCompare(a.received_at),
  );
  paint(
    document.getElementById("cases"),
    list.length ? list.map(card) : el("p", { class: "quiet empty" }, t("crew.no_cases")),
  );
  for (const id of accepted) bringUp(id);
  accepted.clear();
}

/** An ER said yes: buzz, say so, and show it, unless somebody is typing. */
function bringUp(id) {
  navigator.vibrate?.([300, 100, 300]);
  notice(t("case.status.assigned"));
  if (document.activeElement?.matches("input, textarea, select")) return;
  document.getElementById(`case-${id}`)?.scrollIntoView({ block: "start" });
}

function waitingToBeSent(entry) {
  const does = (name, text, style = "") =>
    el("button", { type: "button", class: style, "data-do": name, "data-entry": entry.id }, text);
  const problem = entry.refused ?? entry.problem;
  const why = problem && wordsOf(problem);
  const filmProblem = ["image_unreadable", "too_large", "storage_full"].includes(problem?.code);
  const said = entry.refused
    ? el("p", { class: "note bad" }, `${t("crew.outbox_refused")} ${why}`)
    : problem?.status === 401
      ? el("p", { class: "note warn" }, t("crew.outbox_sign_in"), " ", el("a", { class: "button", href: "/sign-in" }, t("sign_in.title")))
      : problem
        ? el("p", { class: "note warn" }, t("crew.outbox_kept"), " ", why)
        : entry.state === "film"
          ? el("p", {}, t("crew.film_uploading"), " ", el("progress", { max: 1, value: entry.share ?? 0, "aria-label": t("crew.film_uploading") }))
          : el("p", { class: "busy" }, t("crew.outbox_sending"));
  return el(
    "article",
    { class: entry.refused ? "card outbox refused" : "card outbox", "data-key": entry.id },
    el("h3", {}, t(entry.caseId ? "crew.outbox_film" : "crew.outbox")),
    ticks({ sent: entry.state === "sending" || entry.caseId, received: entry.caseId }),
    said,
    entry.refused
      ? el(
          "div",
          { class: "buttons" },
          filmProblem ? does("withoutFilm", t("crew.outbox_without_film"), "primary") : null,
          does("editEntry", t(filmProblem ? "crew.outbox_other_film" : "crew.outbox_edit")),
          does("discardEntry", t("crew.outbox_discard"), "link"),
        )
      : null,
  );
}

/** How far a case is: on this device, sent, received, seen by an ER, decided. */
function ticks(reached) {
  const steps = ["kept", "sent", "received", "seen", "decided"];
  return el(
    "ol",
    { class: "ticks" },
    steps.map((name) => {
      const done = name === "kept" || Boolean(reached[name]);
      return el("li", { class: done ? "done" : "open" }, el("span", { "aria-hidden": "true" }, done ? "✓ " : "○ "), t(`crew.tick.${name}`), done ? null : el("span", { class: "visually-hidden" }, ` (${t("crew.tick.open")})`));
    }),
  );
}

function reached(shown) {
  const seen = shown.offers.some((offer) => offer.received_at || offer.decided_at);
  return { sent: true, received: true, seen, decided: Boolean(shown.assigned_at) };
}

function holder(shown) {
  return shown.offers.find((offer) => offer.status === "accepted");
}

function card(shown) {
  const over = OVER.has(shown.status);
  return el(
    "article",
    { class: `card case case-${shown.status}`, "data-key": shown.id, id: `case-${shown.id}` },
    heading(shown),
    over ? null : ticks(reached(shown)),
    decision(shown),
    counterOffers(shown),
    shown.status === "unplaced" ? phoneCard(shown) : null,
    timeline(shown),
    offers(shown.id, shown.offers),
    clinical(shown),
    over ? null : messages(shown.id, holder(shown) ? ["emergency_room", "control_room"] : ["control_room"]),
    over ? dismiss(shown) : onTheWay(shown),
  );
}

function decision(shown) {
  const offer = holder(shown);
  if (!offer || !HELD.has(shown.status)) return null;
  const name = roomName(offer.emergency_room);
  const phone = offer.emergency_room.phone;
  const step = (path, text, style) =>
    el(
      "button",
      {
        type: "button",
        class: style,
        "data-do": "step",
        "data-case": shown.id,
        "data-step": path,
        "data-key": `${shown.id}-${path}`,
      },
      text,
    );
  return el(
    "section",
    { class: `decision decision-${shown.status}` },
    el(
      "p",
      {},
      el("strong", {}, t(shown.status === "assigned" ? "crew.acknowledge_hint" : "crew.going_to", { name })),
      " ",
      phone ? el("a", { href: `tel:${phone}` }, t("common.call", { phone })) : null,
      " ",
      route(offer.emergency_room, name),
    ),
    instructions(shown),
    shown.status === "assigned" ? step("acknowledge", t("crew.acknowledge"), "acknowledge") : null,
    shown.status === "acknowledged" ? step("depart", t("crew.depart"), "primary big") : null,
    shown.status === "en_route" ? step("arrive", t("crew.arrive"), "primary big") : null,
    shown.status === "arrived" ? step("close", t("case.status.closed"), "primary big") : null,
    el(
      "details",
      { class: "give-back", "data-key": `${shown.id}-give-back` },
      el("summary", { class: "link" }, t("crew.give_back")),
      el(
        "button",
        { type: "button", "data-do": "answerCounter", "data-answer": "pass", "data-offer": offer.id, "data-case": shown.id },
        t("crew.give_back_confirm"),
      ),
    ),
  );
}

/** Opens the phone's own map; nobody is asked by us. iOS knows no geo: links. */
function route(room, name) {
  const place = `${room.latitude},${room.longitude}`;
  const apple = /iPad|iPhone|iPod/.test(navigator.userAgent) || (navigator.platform === "MacIntel" && navigator.maxTouchPoints > 1);
  const href = apple ? `maps://?daddr=${place}` : `geo:${place}?q=${place}(${encodeURIComponent(name)})`;
  return el("a", { class: "button", href }, t("crew.route"));
}

/** What the ER asks of us before arrival. */
function instructions(shown) {
  const asked = shown.instructions;
  if (!asked || (!asked.items.length && !asked.note)) return null;
  return el(
    "div",
    { class: "instructions", "data-key": `${shown.id}-instructions` },
    el("strong", {}, t("crew.instructions")),
    el("ul", {}, asked.items.map((item) => el("li", {}, t(`instruction.${item}`)))),
    asked.note ? el("p", { class: "body" }, asked.note) : null,
    asked.seen_at
      ? el("p", { class: "quiet" }, t("crew.instructions_seen", { time: time(asked.seen_at) }))
      : el("button", { type: "button", class: "primary big", "data-do": "step", "data-case": shown.id, "data-step": "instructions/seen" }, t("crew.instructions_read")),
  );
}

function counterOffers(shown) {
  if (!SEEKING.has(shown.status)) return null;
  const answer = (offer, name, text, style) =>
    el(
      "button",
      { type: "button", class: style, "data-do": "answerCounter", "data-answer": name, "data-offer": offer.id, "data-case": shown.id },
      text,
    );
  return shown.offers
    .filter((offer) => offer.status === "accepted_with_delay")
    .map((offer) =>
      el(
        "section",
        { class: "counter", "data-key": `counter-${offer.id}` },
        el("strong", {}, t("crew.counter", { name: roomName(offer.emergency_room), n: offer.delay_min })),
        el(
          "div",
          { class: "buttons" },
          answer(offer, "take", t("crew.counter_take"), "primary"),
          answer(offer, "pass", t("crew.counter_pass"), ""),
        ),
      ),
    );
}

function phoneCard(shown) {
  const etas = new Map(shown.offers.map((o) => [o.emergency_room.id, o.eta_min ?? 999]));
  const list = rooms
    .filter((room) => room.phone)
    .sort((a, b) => (etas.get(a.id) ?? 1000) - (etas.get(b.id) ?? 1000))
    .slice(0, 6);
  return el(
    "section",
    { class: "phone-card" },
    el("strong", {}, t("crew.phone_card")),
    el(
      "ul",
      {},
      list.map((room) =>
        el(
          "li",
          {},
          el("a", { href: `tel:${room.phone}`, class: "button" }, `${roomName(room)} ${room.phone}`),
        ),
      ),
    ),
    el("p", { class: "quiet" }, t("crew.phone_goes_on")),
  );
}

/** Whether the crew may forget about the network: not while anything of the case may be here yet. */
function network(id) {
  const mine = (entry) => entry.account === out.person?.account && !entry.refused;
  if (filmsOnTheWay.has(id) || out.outbox.some((entry) => entry.caseId === id)) return t("case.receipt_film_waits");
  // An entry whose answer was lost on the way may be this very case: then nothing is promised.
  return out.outbox.some((entry) => mine(entry) && !entry.caseId) ? null : t("case.receipt_all");
}

function timeline(shown) {
  const receipt = receipts.get(shown.id);
  const steps = [
    ["received", shown.received_at],
    ["offering", shown.first_offer_at],
    ["assigned", shown.assigned_at],
    ["acknowledged", shown.acknowledged_at],
    ["arrived", shown.arrived_at],
    [OVER.has(shown.status) ? shown.status : "closed", shown.ended_at],
  ].filter(([, at]) => at);
  return el(
    "section",
    { class: "timeline" },
    el(
      "p",
      { class: "receipt" },
      t("case.receipt", { time: time(shown.received_at) }),
      " ",
      network(shown.id),
      receipt?.image_sha256
        ? el("small", {}, ` ${t("case.receipt_hash", { hash: receipt.image_sha256.slice(0, 12) })}`)
        : null,
    ),
    el(
      "ol",
      {},
      steps.map(([name, at]) =>
        el("li", {}, el("time", { datetime: at }, time(at)), " ", stateWords(shown, name)),
      ),
    ),
    OVER.has(shown.status) && shown.ended_reason ? el("p", { class: "quiet" }, shown.ended_reason) : null,
  );
}

function onTheWay(shown) {
  const cancellable = SEEKING.has(shown.status) || ["assigned", "acknowledged"].includes(shown.status);
  const update = document.getElementById("update-template").content.cloneNode(true);
  const form = update.querySelector("form");
  form.dataset.case = shown.id;
  form.setAttribute("data-keep", "");
  return el(
    "div",
    { class: "more-actions" },
    el("details", { "data-key": `${shown.id}-update` }, el("summary", { class: "link" }, t("crew.update")), form),
    el(
      "label",
      { class: "button small", "data-key": `${shown.id}-film` },
      t(shown.image ? "crew.film_replace" : "crew.film_add"),
      el("input", {
        type: "file",
        accept: "image/png,image/jpeg,.dcm,application/dicom",
        "data-film-of": shown.id,
      }),
    ),
    cancellable
      ? el(
          "details",
          { "data-key": `${shown.id}-cancel` },
          el("summary", { class: "link danger" }, t("crew.cancel")),
          el(
            "form",
            { "data-cancel": shown.id, "data-keep": true },
            el(
              "label",
              {},
              t("crew.cancel_reason"),
              el("input", { name: "reason", required: true, minlength: 2, maxlength: 200, autocomplete: "off" }),
            ),
            el("button", { type: "submit", class: "danger" }, t("crew.cancel_confirm")),
          ),
        )
      : null,
  );
}

function dismiss(shown) {
  return el("button", { type: "button", class: "link", "data-do": "dismiss", "data-case": shown.id }, t("crew.dismiss"));
}

/** A change whose answer is the case; afterwards the screen shows what is true, whatever happened. */
function change(button, method, path, body, caseId) {
  return press(button, async () => {
    try {
      const answer = await api(method, path, body);
      if (answer?.version) keep(answer);
      show();
    } finally {
      await fetchCase(caseId);
    }
  });
}

actions.toggleBoxes = (button) => {
  toggleBoxes(button.dataset.case);
  show();
};
actions.step = (button) =>
  change(button, "POST", `/cases/${button.dataset.case}/${button.dataset.step}`, undefined, button.dataset.case);
actions.answerCounter = (button) => {
  const { answer, offer, case: id } = button.dataset;
  return change(button, "POST", `/offers/${offer}/${answer}`, answer === "pass" ? {} : undefined, id);
};
actions.dismiss = (button) => {
  cases.delete(button.dataset.case);
  show();
};
actions.withoutFilm = async (button) => {
  const entry = await out.takeOut(button.dataset.entry);
  if (entry) out.enqueue(entry.id, { ...entry.content, film: null }, null);
};
actions.editEntry = async (button) => {
  const entry = await out.takeOut(button.dataset.entry);
  if (entry) editForm(entry);
};
actions.discardEntry = (button) => out.takeOut(button.dataset.entry);

document.addEventListener("submit", (event) => {
  const form = event.target;
  const button = form.querySelector("button[type=submit]");
  if (form.dataset.cancel) {
    event.preventDefault();
    const id = form.dataset.cancel;
    if (form.reportValidity()) change(button, "POST", `/cases/${id}/cancel`, { reason: form.elements.reason.value }, id);
  } else if ("update" in form.dataset) {
    event.preventDefault();
    const vitals = vitalsOf(form);
    if (!form.reportValidity() || !vitals) return;
    const id = form.dataset.case;
    change(button, "PATCH", `/cases/${id}`, { vitals }, id).then((problem) => {
      if (problem) return;
      form.reset();
      form.closest("details").open = false;
    });
  }
});

document.addEventListener("change", async (event) => {
  const id = event.target.dataset?.filmOf;
  const file = event.target.files?.[0];
  if (!id || !file) return;
  const body = new FormData();
  body.append("image", file, file.name);
  filmsOnTheWay.add(id);
  show();
  await press(event.target.parentElement, async () => {
    await api("PUT", `/cases/${id}/image`, body, { timeoutMs: 120000 });
    notice(t("crew.film_sent"));
  }).finally(() => filmsOnTheWay.delete(id));
  event.target.value = "";
  fetchCase(id);
});

const handlers = {
  changed: show,
  async received(entry, what) {
    if (entry.receipt) receipts.set(entry.caseId, entry.receipt);
    if (what === "film_refused") notice(wordsOf(entry.refused), "bad");
    await fetchCase(entry.caseId);
    if (what !== "film_refused") document.getElementById(`case-${entry.caseId}`)?.scrollIntoView({ block: "start" });
  },
};

// Signing out wipes this account's entries from the device: what was not sent would be lost.
document.getElementById("sign-out").addEventListener(
  "click",
  async (event) => {
    event.stopImmediatePropagation();
    const mine = out.outbox.filter((entry) => entry.account === out.person?.account).length;
    if (mine && !confirm(t("crew.sign_out_unsent", { n: mine }))) return;
    const button = event.currentTarget;
    await press(button, async () => {
      await api("DELETE", "/session");
      await out.wipe();
      location.assign("/sign-in");
    });
  },
  { capture: true },
);

/** The number of the last event so far: what is fetched afterwards is newer. */
async function lastEvent() {
  return (await api("GET", "/inbox?after=4611686018427387903")).last_seq;
}

async function main() {
  try {
    await out.begin(config.language);
  } catch (problem) {
    if (!(problem instanceof Refusal)) throw problem;
    if (problem.status === 403) return location.replace("/");
    return signedOut();
  }
  const { name, unit } = out.person;
  config.audience = unit;
  paint(document.getElementById("who"), name);
  out.install();
  wireForm(async (key, content, film) => {
    await out.enqueue(key, content, film);
    await clearForm();
    window.scrollTo(0, 0);
  });
  wireMessages(show);
  const restored = await restoreDraft();
  const box = document.getElementById("new-case");
  box.open = restored;
  await out.open(handlers);
  show();
  for (;;) {
    try {
      config.after = await lastEvent();
      break;
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (problem.status === 401) return signedOut();
      box.open ||= !out.outbox.length;
      showConnection(false);
      await new Promise((wake) => setTimeout(wake, 2000));
      showConnection(false);
    }
  }
  await reload();
  if (!cases.size && !out.outbox.length) box.open = true;
  follow({ onEvent, reload });
}

await main();
