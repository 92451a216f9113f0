// One request to /api/v1 for pages and service worker alike; no DOM. A Problem is an error answer
// (problem+json), or no answer at all: code "network".

let token = null;

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

/** The session of this browser, with a fresh token for changes; a Refusal with 401 when none. */
export async function session() {
  const { body } = await request("GET", "/session", undefined, {});
  token = body.csrf_token;
  return body;
}

/** Send a request; {headers, body}, or a Refusal. */
export async function ask(method, path, body, options = {}) {
  if (method !== "GET" && token === null) await session();
  try {
    return await request(method, path, body, options);
  } catch (problem) {
    if (problem.code !== "csrf") throw problem;
    await session(); // somebody signed in again meanwhile
    return request(method, path, body, options);
  }
}

async function request(method, path, body, { headers = {}, timeoutMs = 15000, signal }) {
  const json = body !== undefined && !(body instanceof Blob);
  const limit = AbortSignal.timeout(timeoutMs);
  let answer;
  let text;
  try {
    answer = await fetch(`/api/v1${path}`, {
      method,
      headers: {
        Accept: "application/json",
        ...(json ? { "Content-Type": "application/json" } : {}),
        ...(token && method !== "GET" ? { "X-CSRFToken": token } : {}),
        ...headers,
      },
      body: json ? JSON.stringify(body) : body,
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
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
