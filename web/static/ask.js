// One request to /api/v1 for pages and service worker alike; no DOM. A Refusal is an error answer
// (problem+json), or no answer at all: code "network". The server's clock is kept here, too.

let me = null;
// How far the server's clock is before performance.now(), which nobody sets (but it sleeps with the
// device). The device's own clock is a first guess and no more.
let aheadMs = Date.now() - performance.now();

/** The server's clock in ms, from the Date of its answers: devices' clocks are wrong, and are set. */
export function serverNow() {
  return performance.now() + aheadMs;
}

export class Refusal extends Error {
  constructor(status, code, detail = "", more = {}) {
    super(detail || code);
    Object.assign(this, { status, code, detail, more });
  }

  /** May the same request succeed later? */
  get mayPass() {
    return [0, 401, 408, 429].includes(this.status) || this.status >= 500 || this.code === "csrf";
  }
}

/** What was caught, if it is a Refusal; anything else is thrown on. */
export function refusal(problem) {
  if (problem instanceof Refusal) return problem;
  throw problem;
}

/** The session of this browser, with a fresh token for changes; a Refusal with 401 when none. */
export async function session() {
  return (me = (await request("GET", "/session")).body);
}

/** Send a request; {headers, body}, or a Refusal. */
export async function ask(method, path, body, options) {
  const change = method !== "GET";
  if (change && !me && !path.startsWith("/session")) await session(); // those are for nobody yet
  try {
    return await request(method, path, body, options);
  } catch (problem) {
    if (problem.code !== "csrf" || !change) throw problem;
    const mine = me;
    await session(); // somebody signed in again meanwhile; in another tab it may be somebody else
    if (me.account_id !== mine?.account_id) throw new Refusal(401, "csrf");
    return request(method, path, body, options);
  }
}

async function request(method, path, body, { headers = {}, timeoutMs = 15000, signal } = {}) {
  const json = body !== undefined && !(body instanceof Blob || body instanceof FormData);
  const limit = AbortSignal.timeout(timeoutMs);
  const asked = performance.now();
  let answer;
  let text;
  try {
    answer = await fetch(`/api/v1${path}`, {
      method,
      headers: {
        Accept: "application/json",
        ...(json ? { "Content-Type": "application/json" } : {}),
        ...(me && method !== "GET" ? { "X-CSRFToken": me.csrf_token } : {}),
        ...headers,
      },
      body: json ? JSON.stringify(body) : body,
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
    // Date has whole seconds and was written at some time since we asked: correct only what cannot be.
    const date = Date.parse(answer.headers.get("Date"));
    if (date) aheadMs = Math.max(date - performance.now(), Math.min(aheadMs, date + 1000 - asked));
    text = await answer.text();
  } catch {
    throw new Refusal(0, "network");
  }
  let content = null;
  try {
    content = text ? JSON.parse(text) : null;
  } catch {
    throw new Refusal(0, "network"); // somebody between us and the server answered
  }
  if (!answer.ok) {
    const { code = "unexpected", detail = answer.statusText, ...more } = content ?? {};
    throw new Refusal(answer.status, code, detail, more);
  }
  return { headers: answer.headers, body: content };
}
