// The crew's page: send a case, follow it, acknowledge, drive.

import { alarm, quiet } from "./alarm.js";
import { card, counters, goingTo, holder, OVER, phones, SEEKING, ticks } from "./crew_card.js";
import { actions, api, button, config, el, leaving, notice, paint, patiently, place, press, refusal, roomName, t, wordsOf } from "./page.js";
import { follow as followPosition } from "./following.js";
import { follow, heard, showConnection, signedOut } from "./live.js";
import { clearForm, editForm, factsOf, restoreDraft, wireForm, wrongWith, vitalsOf } from "./case_form.js";
import { wireGuard } from "./guard.js";
import { loadMessages, wireMessages } from "./messages.js";
import * as out from "./outbox.js";
import { lasting } from "./vault.js";
import { unlockSound } from "./tone.js";

const URGENCY = ["assigned", "unplaced", "offering", "received", "acknowledged", "en_route", "arrived"];

const cases = new Map();
const receipts = new Map();
const lost = new Set(); // case ids whose ER gave the patient back
let rooms = [];

/** Keep what the server said, unless we know something newer. */
function keep(found) {
  const known = cases.get(found.id);
  if (known && found.version < known.version) return;
  if (known && holder(known) && SEEKING.has(found.status)) lost.add(found.id);
  else if (!SEEKING.has(found.status)) lost.delete(found.id);
  cases.set(found.id, found);
}

async function fetchCase(id) {
  const found = await patiently(api("GET", `/cases/${id}`));
  if (found) {
    keep(found);
    heard();
  }
  show();
}

async function reload() {
  const live = await patiently(api("GET", "/cases?live=true&limit=50"));
  if (!rooms.length) rooms = (await patiently(api("GET", "/emergency-rooms"))) ?? [];
  if (live) {
    heard();
    live.forEach(keep);
    const listed = new Set(live.map((c) => c.id));
    for (const id of listed) loadMessages(id, show);
    // What ended while nobody listened: fetch it once, so that its end is shown.
    const ended = [...cases.values()].filter((c) => !listed.has(c.id) && !OVER.has(c.status));
    await Promise.all(ended.map((c) => fetchCase(c.id)));
  }
  show();
}

function onEvent(entry) {
  if (!entry.case_id) return;
  if (entry.type.startsWith("message.")) loadMessages(entry.case_id, show);
  else fetchCase(entry.case_id);
}

function show() {
  paint(place("outbox"), [
    !lasting() && el("p.note.warn", t("crew.outbox_fleeting")),
    out.outbox.map(waitingToBeSent),
  ]);
  const list = [...cases.values()].sort(
    (a, b) =>
      OVER.has(a.status) - OVER.has(b.status) ||
      URGENCY.indexOf(a.status) - URGENCY.indexOf(b.status) ||
      b.received_at.localeCompare(a.received_at),
  );
  paint(
    place("cases"),
    list.length
      ? list.map((c) => card(c, { rooms, receipt: receipts.get(c.id), network: network(c.id) }))
      : el("p.quiet.empty", t("crew.no_cases")),
  );
  const first = list.map(needsConfirming).find(Boolean) ?? null;
  alarm(first);
  const moving = list.filter((c) => !OVER.has(c.status) && c.status !== "arrived").map((c) => c.id);
  followPosition(moving.length > 0, (position) => moving.forEach((id) => tellPosition(id, position)));
}

/** What a crew must be told of a case before anything else, as alarm() wants it. */
function needsConfirming(shown) {
  const seen = button("alarmSeen", t("crew.alarm_seen"), {}, "acknowledge");
  const look = button("alarmLook", t("crew.alarm_look"), {}, "link");
  const make = (kind, key, title, ...content) => ({ kind, key: `${shown.id}-${kind}-${key}`, title, content });
  const counter = counters(shown)[0];
  if (shown.status === "assigned" && holder(shown)) {
    const name = roomName(holder(shown).emergency_room);
    return make("assigned", shown.assigned_at, t("crew.acknowledge_hint", { name }), goingTo(shown), look);
  }
  if (counter) return make("counter", counter.dataset.key, t("crew.alarm_counter"), counter, look);
  if (shown.status === "unplaced") return make("unplaced", shown.round, t("case.status.unplaced"), phones(shown, rooms), seen);
  return lost.has(shown.id) && make("lost", shown.assigned_at, t("crew.alarm_lost"), seen);
}

async function tellPosition(id, position) {
  const answer = await patiently(api("PATCH", `/cases/${id}`, { position }));
  if (answer) keep(answer);
  show();
}

function waitingToBeSent(entry) {
  const does = (name, text, style) => button(name, text, { entry: entry.id }, style);
  const problem = entry.refused ?? entry.problem;
  const why = problem && wordsOf(problem);
  const filmProblem = ["image_unreadable", "too_large", "storage_full"].includes(problem?.code);
  const said = entry.refused
    ? el("p.note.bad", `${t("crew.outbox_refused")} ${why}`)
    : problem?.status === 401
      ? el("p.note.warn", t("crew.outbox_sign_in"), " ", el("a.button", { href: "/sign-in" }, t("sign_in.title")))
      : problem
        ? el("p.note.warn", t("crew.outbox_kept"), " ", why)
        : entry.state === "film"
          ? el("p", t("crew.film_uploading"), " ", el("progress", { max: 1, value: entry.share ?? 0, "aria-label": t("crew.film_uploading") }))
          : el("p.busy", t("crew.outbox_sending"));
  return el(
    "article",
    { class: `card outbox ${entry.refused ? "refused" : ""}`, "data-key": entry.id },
    el("h3", t(entry.caseId ? "crew.outbox_film" : "crew.outbox")),
    ticks({ sent: entry.state === "sending" || entry.caseId, received: entry.caseId }),
    said,
    entry.refused &&
      el(
          "div.buttons",
          filmProblem && does("withoutFilm", t("crew.outbox_without_film"), "primary"),
          does("editEntry", t(filmProblem ? "crew.outbox_other_film" : "crew.outbox_edit")),
          does("discardEntry", t("crew.outbox_discard"), "link"),
        ),
  );
}

/** Whether the crew may forget about the network: not while anything of the case may be here yet. */
function network(id) {
  const mine = (entry) => entry.account === out.person?.account && !entry.refused;
  if (out.outbox.some((entry) => entry.caseId === id)) return t("case.receipt_film_waits");
  // An entry whose answer was lost on the way may be this very case: then nothing is promised.
  return out.outbox.some((entry) => mine(entry) && !entry.caseId) ? null : t("case.receipt_all");
}

/** A change whose answer is the case; afterwards the screen shows what is true, whatever happened. */
function change(pressed, method, path, body, caseId) {
  return press(pressed, async () => {
    try {
      const answer = await api(method, path, body);
      if (answer?.version) keep(answer);
      show();
    } finally {
      await fetchCase(caseId);
    }
  });
}

actions.step = (pressed) =>
  change(pressed, "POST", `/cases/${pressed.dataset.case}/${pressed.dataset.step}`, undefined, pressed.dataset.case);
actions.answerCounter = (pressed) => {
  const { answer, offer, case: id } = pressed.dataset;
  return change(pressed, "POST", `/offers/${offer}/${answer}`, answer === "pass" ? {} : undefined, id);
};
actions.alarmSeen = () => quiet({ forGood: true });
actions.alarmLook = () => quiet({ forGood: false });
actions.dismiss = ({ dataset }) => {
  cases.delete(dataset.case);
  show();
};
actions.withoutFilm = async ({ dataset }) => {
  const entry = await out.takeOut(dataset.entry);
  if (entry) out.enqueue(entry.id, { ...entry.content, film: null }, null);
};
actions.editEntry = async ({ dataset }) => {
  const entry = await out.takeOut(dataset.entry);
  if (entry) editForm(entry);
};
actions.discardEntry = ({ dataset }) => out.takeOut(dataset.entry);

document.addEventListener("submit", (event) => {
  const form = event.target;
  const { case: id, post } = form.dataset;
  if (!id) return;
  event.preventDefault();
  if (!form.reportValidity()) return;
  const sender = form.querySelector("[type=submit]");
  if (post) change(sender, "POST", `/cases/${id}/${post}`, Object.fromEntries(new FormData(form)), id);
  else {
    const vitals = vitalsOf(form);
    if (!vitals) return;
    change(sender, "PATCH", `/cases/${id}`, { vitals }, id).then((problem) => {
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
  event.target.value = "";
  const wrong = await wrongWith(file);
  if (wrong) notice(wrong, "bad", "film");
  else out.enqueueFilm(id, await factsOf(file), file);
});

const handlers = {
  changed: show,
  async received(entry, what) {
    if (entry.receipt) receipts.set(entry.caseId, entry.receipt);
    if (what === "film_refused") notice(wordsOf(entry.refused), "bad");
    else if (what === "done" && entry.content.film) notice(t("crew.film_sent"));
    await fetchCase(entry.caseId);
    // Who types the next case by now is not pulled away from it.
    if (what !== "film_refused" && !place("new-case").open) place(`case-${entry.caseId}`)?.scrollIntoView({ block: "start" });
  },
};

// Signing out wipes this account's entries from the device: what was not sent would be lost.
leaving.may = () => {
  const mine = out.outbox.filter((entry) => entry.account === out.person?.account).length;
  return !mine || confirm(t("crew.sign_out_unsent", { n: mine }));
};
leaving.then = out.wipe;

/** The number of the last event so far: what is fetched afterwards is newer. */
async function lastEvent() {
  return (await api("GET", "/inbox?after=4611686018427387903")).last_seq;
}

async function main() {
  try {
    await out.begin(config.language);
  } catch (problem) {
    refusal(problem);
    if (problem.status === 403) return location.replace("/");
    return signedOut();
  }
  const { name, unit } = out.person;
  config.audience = unit;
  paint(place("who"), name);
  out.install();
  wireForm(async (key, content, film) => {
    await out.enqueue(key, content, film);
    await clearForm();
    window.scrollTo(0, 0);
  });
  wireMessages(show);
  wireGuard(fetchCase);
  unlockSound(show);
  const restored = await restoreDraft();
  const box = place("new-case");
  box.open ||= restored; // somebody may have opened it while this page got ready
  await out.open(handlers);
  show();
  for (;;) {
    try {
      config.after = await lastEvent();
      break;
    } catch (problem) {
      refusal(problem);
      if (problem.status === 401) return;
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
