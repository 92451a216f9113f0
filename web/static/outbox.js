// Cases on their way from this page to the server. They lie sealed on the device (vault.js) under
// the Idempotency-Key that was made when the entry began: a second tap, a second tab, a request sent
// again are the same case. Sending is sender.js's, which the service worker uses, too.

import { Refusal, session } from "./ask.js";
import { sendAll } from "./sender.js";
import * as vault from "./vault.js";

const LONGEST_WAIT_S = 15;
const heard = globalThis.BroadcastChannel ? new BroadcastChannel("goldentime-outbox") : null;

/** Who uses this device: {account, unit, name}; null when nobody signed in since the last sign-out. */
export let person = null;
/** Entries that are not wholly received, each with its `state`, `share`, `problem`. */
export let outbox = [];

const find = (id) => outbox.find((entry) => entry.id === id);

let handlers = { changed() {}, received() {} };
let timer = null;
let attempt = 0;
let sending = false;
let again = false;

/** Learn who signed in; offline it is whoever did last. Throws a Refusal when nobody is known. */
export async function begin(language) {
  try {
    const found = await session();
    if (found.role !== "crew") throw new Refusal(403, "not_allowed");
    person = { account: found.account_id, unit: found.audience, name: found.display_name };
    await vault.setFact("who", person);
    await vault.setFact("language", language);
  } catch (problem) {
    if (!(problem instanceof Refusal) || !problem.mayPass || problem.status === 401) throw problem;
    person = await vault.fact("who");
    if (!person) throw problem;
  }
  return person;
}

/** Begin to send what waits; handlers: changed() repaints, received(receipt, entry). */
export async function open(wanted) {
  handlers = wanted;
  addEventListener("online", () => push());
  heard?.addEventListener("message", load);
  await load();
  push();
}

async function load() {
  const known = new Map(outbox.map((entry) => [entry.id, entry]));
  outbox = (await vault.entries())
    .filter((entry) => !entry.draft)
    .map((entry) => ({ ...pick(known.get(entry.id)), ...entry }));
  handlers.changed();
}

function pick({ state, share, problem } = {}) {
  return { state, share, problem };
}

function tell() {
  heard?.postMessage("changed");
}

export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `page-${Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("")}`;
}

/** Keep what is being typed, so that a dead battery loses nothing. */
export async function keepDraft(draft) {
  await vault.put({ ...owner(), id: `draft:${person.account}`, draft: true, content: draft });
  if (!vault.lasting()) handlers.changed();
}

/** What was being typed, or null. */
export async function draft() {
  const found = (await vault.entries()).find((entry) => entry.id === `draft:${person.account}`);
  return found?.content ?? null;
}

export function dropDraft() {
  return vault.remove(`draft:${person.account}`);
}

function owner() {
  return { account: person.account, unit: person.unit, at: new Date().toISOString() };
}

/** Put a case in; false when it is in already (the second tap). A refused one is replaced. */
export async function enqueue(key, content, film) {
  return put({ id: key, content }, film, !find(key)?.refused);
}

/** Put a film in for a case that the server has. */
export function enqueueFilm(caseId, facts, film) {
  return put({ id: newKey(), caseId, content: { film: facts } }, film, true);
}

async function put(entry, film, fresh) {
  if (film) await vault.putFilm(entry.id, person.account, film);
  const added = await vault.put({ ...owner(), ...entry }, { fresh });
  await load();
  tell();
  push();
  navigator.serviceWorker?.ready.then((worker) => worker.sync?.register("outbox")).catch(() => {});
  return added;
}

/** Take a refused case out again; its content, with its film as `blob`. */
export async function takeOut(key) {
  const entry = find(key);
  if (!entry) return null;
  const blob = await vault.film(key);
  await vault.remove(key);
  await load();
  tell();
  return { ...entry, blob };
}

/** Send now, one sender per device; what cannot go is tried again after a growing while. */
export async function push() {
  clearTimeout(timer);
  if (sending) {
    again = true;
    return;
  }
  sending = true;
  const run = () => sendAll(step);
  try {
    const left = navigator.locks
      ? await navigator.locks.request("goldentime-outbox", { ifAvailable: true }, (lock) => (lock ? run() : null))
      : await run();
    await load();
    tell();
    schedule(left);
  } finally {
    sending = false;
  }
  if (again) {
    again = false;
    push();
  }
}

function schedule(left) {
  const waiting = outbox.filter((entry) => !entry.refused);
  if (!waiting.length) {
    attempt = 0;
    return;
  }
  const waitS = Math.min(LONGEST_WAIT_S, 2 ** attempt++);
  for (const { entry, problem } of left ?? []) {
    const shown = find(entry.id);
    if (shown) Object.assign(shown, { state: "waiting", problem });
  }
  timer = setTimeout(push, waitS * 1000);
  handlers.changed();
}

function step(entry, what) {
  const shown = find(entry.id);
  if (shown) Object.assign(shown, { state: what, share: entry.share, caseId: entry.caseId, problem: null });
  if (["received", "done"].includes(what)) attempt = 0;
  if (["received", "done", "film_refused"].includes(what)) handlers.received(entry, what);
  handlers.changed();
}

/** Forget everything of this account on this device: entries, films, key, and the kept shell. */
export async function wipe() {
  if (person) await vault.wipe(person.account);
  for (const name of (await globalThis.caches?.keys()) ?? []) await caches.delete(name);
  for (const worker of (await navigator.serviceWorker?.getRegistrations()) ?? []) await worker.unregister();
  tell();
}

/** Install the service worker, where there is one (https or localhost). */
export function install() {
  navigator.serviceWorker
    ?.register("/service-worker.js", { type: "module", scope: "/", updateViaCache: "none" })
    .catch(() => {}); // this browser opens no page offline; everything else goes on
  navigator.storage?.persist?.().catch(() => {});
}
