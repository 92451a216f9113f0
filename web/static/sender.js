// The way of one entry from this device to the server: the case first, its film behind it. Both the
// page and the service worker walk it; a step that was taken is noted before the next. No DOM.

import { ask, Refusal, refusal, session } from "./ask.js";
import { upload } from "./upload.js";
import * as vault from "./vault.js";

const FILM_PROBLEMS = new Set(["image_unreadable", "upload_corrupt", "upload_incomplete", "too_large"]);

/** Entries that are ready to go, oldest first. */
export async function ready() {
  return (await vault.entries()).filter((entry) => !entry.draft && !entry.refused);
}

/**
 * Send everything that may go; returns what could not go yet: [{entry, problem}].
 * changed(entry, what) hears of each step: "sending", "received", "film" (entry.share), "done",
 * "refused", "film_refused".
 */
export async function sendAll(changed = () => {}) {
  const waiting = await ready();
  if (!waiting.length) return [];
  let signedIn;
  try {
    signedIn = await session();
  } catch (problem) {
    refusal(problem);
    return waiting.map((entry) => ({ entry, problem }));
  }
  const left = [];
  // All cases before any film: nobody's vital signs wait behind somebody else's pixels.
  for (const step of [sendCase, sendFilm]) {
    for (const entry of waiting) {
      if (left.some((other) => other.entry === entry)) continue;
      if (entry.unit !== signedIn.audience) {
        left.push({ entry, problem: new Refusal(403, "other_unit") });
      } else if (entry.content === null) {
        left.push({ entry, problem: new Refusal(0, "sealed") });
      } else {
        try {
          await step(entry, changed);
        } catch (problem) {
          refusal(problem);
          if (problem.mayPass) left.push({ entry, problem });
          else await refuse(entry, problem, changed);
        }
      }
    }
  }
  return left;
}

async function sendCase(entry, changed) {
  if (entry.caseId) return;
  changed(entry, "sending");
  const film = entry.content.film;
  try {
    entry.receipt = await submit(entry, film?.up ? { image_sha256: film.sha256 } : film ? { film_follows: true } : {});
  } catch (problem) {
    if (!film?.up || !FILM_PROBLEMS.has(problem.code)) throw problem;
    film.up = false; // nothing was stored under this key: the case goes, the film once more
    entry.receipt = await submit(entry, { film_follows: true });
  }
  entry.caseId = entry.receipt.case_id;
  const arrived = !film || entry.receipt.image_sha256 === film.sha256;
  // What the server has, this device needs no more: only a film that is still to go stays.
  entry.content = arrived ? {} : { film };
  if (arrived) await vault.remove(entry.id);
  else await vault.put(entry);
  changed(entry, arrived ? "done" : "received");
}

async function submit(entry, more) {
  const { body } = await ask("POST", "/cases", { ...entry.content.case, ...more }, {
    headers: { "Idempotency-Key": entry.id },
    timeoutMs: 30000,
  });
  return body;
}

async function sendFilm(entry, changed) {
  const film = entry.content.film;
  if (!film) return;
  const blob = await vault.film(entry.id);
  if (blob) {
    await upload(blob, film.sha256, (share) => changed(Object.assign(entry, { share }), "film"));
    const { body } = await ask("PUT", `/cases/${entry.caseId}/image`, { image_sha256: film.sha256 }, { timeoutMs: 60000 });
    entry.receipt = body;
  }
  await vault.remove(entry.id);
  changed(entry, "done");
}

/** A refusal that no retry mends: a case waits to be corrected, a film is told of and let go. */
async function refuse(entry, problem, changed) {
  entry.refused = { status: problem.status, code: problem.code, detail: problem.detail, more: problem.more };
  if (entry.caseId) {
    await vault.remove(entry.id);
    changed(entry, "film_refused");
  } else {
    await vault.put(entry);
    changed(entry, "refused");
  }
}
