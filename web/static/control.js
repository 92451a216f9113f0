// The control room's page: alarms first, then every live case.

import { actions, api, el, paint, press, Problem, roomName, serverNow, session, t, time } from "./page.js";
import { follow, heard, showConnection } from "./live.js";
import { guard, wireGuard } from "./guard.js";
import * as meaning from "./meaning.js";
import { loadMessages, messages, unread, wireMessages } from "./messages.js";
import { choosing, waitsForUs, wireChoosing } from "./choosing.js";
import { calls, loadLog, takenBy, taking, wireLog } from "./control_log.js";
import { drawMap } from "./map.js";
import { feedLine, showShortages } from "./shortage.js";
import { clinical, toggleBoxes } from "./clinical.js";
import { acuity, eta } from "./patient.js";
import { phones } from "./nearest.js";
import { heading, offers, stateWords } from "./show.js";
import { muted, muteWords, ring, wireSound } from "./sound.js";

const OVER = new Set(["closed", "cancelled"]);
const UNCONFIRMED_MS = 15000;
const POSITION_MS = 45000;
const positions = new Map(); // by case: when its position was last asked for
const CANCELLABLE = new Set(["received", "offering", "unplaced", "assigned", "acknowledged"]);

const cases = new Map();
const silent = new Map(); // case id to the version at which "no news" was raised
const few = new Set(); // cases for which fewer suitable hospitals were left than are asked
const title = document.title;
let rooms = [];

function keep(found) {
  const known = cases.get(found.id);
  if (known && found.version < known.version) return;
  if (OVER.has(found.status)) cases.delete(found.id);
  else cases.set(found.id, found);
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
      api("GET", "/control-room/cases"),
      api("GET", "/emergency-rooms"),
    ]);
    heard();
    rooms = all;
    const listed = new Set(live.map((c) => c.id));
    for (const id of [...cases.keys()]) if (!listed.has(id)) cases.delete(id);
    live.forEach(keep);
    for (const id of listed) loadMessages(id, show);
    loadLog(show);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
  }
  show();
}

async function showBeds() {
  try {
    paint(document.getElementById("feed"), feedLine((await api("GET", "/beds")).feed));
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
  }
  await showShortages(document.getElementById("shortages"));
}

function onEvent(entry) {
  if (entry.type === "alarm.bed_feed" || entry.type === "bed_feed.back") showBeds();
  if (!entry.case_id) return;
  if (entry.type === "alarm.no_news") silent.set(entry.case_id, entry.body.version);
  if (entry.type === "alarm.few_suitable") few.add(entry.case_id);
  if (["case.alarm_taken", "case.telephoned"].includes(entry.type)) loadLog(show);
  else if (entry.type.startsWith("message.")) loadMessages(entry.case_id, show);
  else if (entry.type !== "case.position" || positionDue(entry.case_id)) fetchCase(entry.case_id);
}

/** Ambulances tell more often where they are than a control room needs to read it. */
function positionDue(id) {
  if (performance.now() - (positions.get(id) ?? -POSITION_MS) < POSITION_MS) return false;
  positions.set(id, performance.now());
  return true;
}

/** The alarm that a case raises now, if any; it goes away with its reason. */
function alarmOf(shown) {
  if (waitsForUs(shown)) return "control_room_chooses";
  if (shown.status === "unplaced") return "unplaced";
  if (shown.status === "assigned" && serverNow() - Date.parse(shown.assigned_at) > UNCONFIRMED_MS) {
    return "unacknowledged";
  }
  if (few.has(shown.id) && shown.status === "offering") return "few_suitable";
  return silent.get(shown.id) === shown.version ? "no_news" : null;
}

const untaken = (shown) => alarmOf(shown) && !takenBy(shown.id, alarmOf(shown));

function show() {
  const list = [...cases.values()].sort(
    (a, b) =>
      Number(!untaken(a)) - Number(!untaken(b)) ||
      Number(!alarmOf(a)) - Number(!alarmOf(b)) ||
      (a.acuity ?? 3) - (b.acuity ?? 3) ||
      a.received_at.localeCompare(b.received_at),
  );
  const loud = list.filter(alarmOf);
  paint(
    document.getElementById("alarms"),
    loud.length ? loud.map(alarmLine) : el("p", { class: "quiet empty" }, t("control.no_alarms")),
  );
  paint(
    document.getElementById("cases"),
    list.length ? list.map(card) : el("p", { class: "quiet empty" }, t("control.no_cases")),
  );
  const calling = list.filter(untaken);
  ring(calling.map((shown) => (shown.status === "unplaced" ? 1 : (shown.acuity ?? 3))));
  document.title = calling.length ? `(${calling.length}) ${title}` : title;
  const how = muted() ? "on" : "quarter";
  paint(document.getElementById("sound"), muteWords(), " ", el("button", { type: "button", class: "plain", "data-do": "mute", "data-how": how }, t(`er.mute_${how}`)));
  drawMap(document.getElementById("map"), { points: points(list), lines: lines(list), onPress: (id) => cases.has(id) && openCase(id) });
}

function points(list) {
  return [
    ...rooms.map((room) => ({ id: room.id, kind: "emergency_room", name: roomName(room), latitude: room.latitude, longitude: room.longitude })),
    ...list.map((shown) => ({ id: shown.id, kind: "ambulance", name: `${shown.call_sign} · ${stateWords(shown)}`, latitude: shown.latitude, longitude: shown.longitude, loud: Boolean(alarmOf(shown)) })),
  ];
}

/** From each ambulance to the ER that holds its patient. */
function lines(list) {
  return list.flatMap((shown) => shown.offers.filter((offer) => offer.status === "accepted").map((offer) => [shown.id, offer.emergency_room.id]));
}

function alarmLine(shown) {
  const kind = alarmOf(shown);
  return el(
    "p",
    { class: takenBy(shown.id, kind) ? "alarm taken" : "alarm", "data-key": `${shown.id}-${kind}` },
    acuity(shown.acuity),
    " ",
    el("strong", {}, t(`alarm.${kind}`)),
    " ",
    [t("case.unit", { call_sign: shown.call_sign }), t("case.number", { id: shown.id.slice(0, 8) }), t("case.received_ago", { n: Math.floor((serverNow() - Date.parse(shown.received_at)) / 60000) })].join(" · "),
    " ",
    el(
      "button",
      { type: "button", "data-do": "openCase", "data-case": shown.id },
      t("alarm.show"),
    ),
    " ",
    taking(shown, kind),
  );
}

function card(shown) {
  const held = shown.offers.find((offer) => offer.status === "accepted") ?? shown.elsewhere;
  const news = unread(shown.id);
  return el(
    "details",
    { class: alarmOf(shown) ? "card case loud" : "card case", "data-key": shown.id, id: `case-${shown.id}` },
    el(
      "summary",
      {},
      heading(
        shown,
        held ? el("p", el("strong", roomName(held.emergency_room)), shown.status !== "arrived" && held.rank && [" · ", eta(held)]) : null,
        news ? el("span", { class: "badge" }, `${t("messages.title")} ${news}`) : null,
      ),
    ),
    guard(shown),
    shown.status === "unplaced" ? phones(shown, rooms) : null,
    offers(shown.id, shown.offers),
    choosing(shown, rooms),
    clinical(shown, meaning),
    calls(shown, rooms),
    messages(shown.id, held?.rank ? ["ambulance", "emergency_room"] : ["ambulance"]),
    CANCELLABLE.has(shown.status) ? cancelForm(shown) : null,
  );
}

function cancelForm(shown) {
  return el(
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
  );
}

actions.toggleBoxes = (button) => {
  toggleBoxes(button.dataset.case);
  show();
};
actions.openCase = (button) => openCase(button.dataset.case);

function openCase(id) {
  const node = document.getElementById(`case-${id}`);
  node.open = true;
  node.scrollIntoView({ block: "start" });
  node.querySelector("summary").focus();
}

document.addEventListener("submit", (event) => {
  const id = event.target.dataset.cancel;
  if (!id) return;
  event.preventDefault();
  press(event.target.querySelector("button"), async () => {
    try {
      await api("POST", `/cases/${id}/cancel`, { reason: event.target.elements.reason.value });
    } finally {
      await fetchCase(id);
    }
  });
});

wireMessages(show);
wireGuard(fetchCase);
wireChoosing(fetchCase, show);
wireLog(show);
wireSound(show);
session()
  .then((who) => paint(document.getElementById("who"), who.display_name))
  .catch(() => {});
showConnection(false);
await reload();
showBeds();
setInterval(showBeds, 60000);
follow({ onEvent, reload });
setInterval(show, 5000); // an alarm may fall due by time alone
