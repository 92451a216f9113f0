// Cases on their way to the server. Each keeps one Idempotency-Key for its whole life and is sent
// again until there is a receipt or a refusal: the same case can never be stored twice.

import { api, Problem, session } from "./page.js";

const LONGEST_WAIT_S = 15;
const UPLOAD_MS = 120000;

/** {key, content, film, values, state: "sending" | "waiting" | "refused", attempt, nextAt, problem} */
export const outbox = [];

function newKey() {
  if (crypto.randomUUID) return `page-${crypto.randomUUID()}`;
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `page-${Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("")}`;
}

/** Put a case in and send it; `values` are kept so that the form can be filled again. */
export function enqueue(content, film, values, key, handlers) {
  const entry = { key: key ?? newKey(), content, film, values, attempt: 0 };
  outbox.push(entry);
  send(entry, handlers);
}

/** Take a refused case out again. */
export function takeOut(key) {
  const at = outbox.findIndex((entry) => entry.key === key);
  if (at < 0) return null;
  clearTimeout(outbox[at].timer);
  return outbox.splice(at, 1)[0];
}

/** May the same request succeed later? */
function mayPass({ status, code }) {
  return status === 0 || status === 401 || status === 408 || status === 429 || status >= 500 || code === "csrf";
}

async function send(entry, handlers) {
  entry.state = "sending";
  entry.attempt += 1;
  handlers.changed();
  const body = new FormData();
  body.append("case", JSON.stringify(entry.content));
  if (entry.film) body.append("image", entry.film, entry.film.name || "film");
  try {
    if (entry.problem?.status === 401) await session(); // a new sign-in has a new token
    const receipt = await api("POST", "/cases", body, {
      headers: { "Idempotency-Key": entry.key },
      timeoutMs: UPLOAD_MS,
    });
    takeOut(entry.key);
    handlers.changed();
    handlers.receipt(receipt, entry);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    entry.problem = problem;
    if (mayPass(problem)) {
      const seconds = Math.min(LONGEST_WAIT_S, 2 ** (entry.attempt - 1));
      entry.state = "waiting";
      entry.nextAt = new Date(Date.now() + seconds * 1000).toISOString();
      entry.waitS = seconds;
      entry.timer = setTimeout(() => send(entry, handlers), seconds * 1000);
    } else {
      entry.state = "refused";
      handlers.refused?.(entry);
    }
    handlers.changed();
  }
}

window.addEventListener("beforeunload", (event) => {
  if (outbox.length) event.preventDefault();
});
