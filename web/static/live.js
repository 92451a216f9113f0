// Keeps a page true: the event stream, polling where the stream is silent, and plain words when
// neither answers. Only this file decides whether the state on the screen is known.

import { api, config, el, paint, place, serverNow, t, time } from "./page.js";

const SILENT_MS = 7000; // the stream beats every 5 s
const LOST_MS = 10000;
const POLL_MS = 3000;
const LOOK_MS = 500; // what is lost must be called so within LOST_MS, not a second later

const connection = place("connection");
const lost = place("lost");

// The device's clock may be set back or forward at any time, and stands still for no one; the other
// counts evenly but sleeps with the device. What is asked is how old something is by either.
const clocks = () => [Date.now(), performance.now()];
const ageMs = (then) => Math.max(...clocks().map((now, i) => now - then[i]));

const began = clocks();
let heardAt = null; // last sign of life of any kind
let missing = false; // there is more than the screen shows, whatever the stream says
let askAgain = false; // a question of the page's own got no answer
let ended = false; // the sign-in is over, and with it all that this page may know

// A stream that beats proves nothing while questions stay without an answer, also the page's first.
document.addEventListener("unanswered", () => {
  missing = askAgain = true;
});

/** Note that the server answered: what is on the screen is as of now. */
export function heard() {
  heardAt = clocks();
}

/** Show how sure the page is; returns whether the state is unknown. */
export function showConnection(direct) {
  const unknown = ended || ageMs(heardAt ?? began) > LOST_MS;
  const state = ended ? "signed_out" : unknown ? "lost" : heardAt === null ? "starting" : direct ? "live" : "polling";
  if (connection.dataset.state !== state) {
    connection.dataset.state = state;
    paint(connection, el("span.dot", { "aria-hidden": "true" }), t(`connection.${state}`));
    document.body.classList.toggle("state-unknown", unknown);
    document.dispatchEvent(new CustomEvent("connection", { detail: state }));
    lost.hidden = !unknown;
    if (unknown) {
      const since = heardAt
        ? t("connection.lost_since", { time: time(serverNow() - ageMs(heardAt)) })
        : t("connection.lost_never");
      const onward = ended
        ? el("a.button", { href: `/sign-in${location.search}` }, t("sign_in.title"))
        : el("span", since);
      paint(lost, el("strong", t(`connection.${state}`)), onward);
    }
  }
  return unknown;
}

/** Say that the sign-in ended; the page stays, for something may be typed in it. */
export function signedOut() {
  ended = true;
  showConnection();
}
document.addEventListener("signedout", signedOut); // whatever was asked, and was refused for that

/**
 * Follow this audience's events from config.after on, each once and in order.
 * onEvent(entry) hears each; reload() fetches everything again after a time without news.
 */
export function follow({ onEvent, reload }) {
  let after = config.after;
  let source = null;
  let streamHeardAt = [0, -SILENT_MS];
  let polling = false;
  let wasUnknown = false;
  let failures = 0;
  let polledAt = streamHeardAt;
  let [wall, even] = clocks();

  function take(entry) {
    if (entry.seq <= after) return; // a replay, or the other channel was quicker
    after = entry.seq;
    onEvent(entry);
  }

  /** From the stream: numbers have no gaps, so one that is missing was lost or overtaken. */
  function takeNext(entry) {
    if (entry.seq > after + 1) catchUp();
    else take(entry);
  }

  function catchUp() {
    missing = true;
    poll();
  }

  function alive(event) {
    streamHeardAt = clocks();
    failures = 0;
    if (event.type === "heartbeat" && JSON.parse(event.data).seq > after) catchUp();
    if (!missing) heard();
    show();
  }

  function open() {
    source?.close();
    source = new EventSource(`${config.stream}?after=${after}`, { withCredentials: true });
    source.onopen = alive;
    source.addEventListener("heartbeat", alive);
    for (const type of config.events) {
      source.addEventListener(type, (event) => {
        takeNext(JSON.parse(event.data));
        alive(event);
      });
    }
    // The server counts from somewhere else, as after a restore: everything may be new.
    source.addEventListener("hello", (event) => {
      after = JSON.parse(event.data).seq;
      reload();
    });
    source.onerror = () => {
      // Reconnect by hand, so that the number we ask for is the last one of either channel.
      source.close();
      poll(); // a sign-in that was taken away ends the stream first of all
      const waitMs = Math.min(10000, 500 * 2 ** failures++) + Math.random() * 500;
      setTimeout(() => !ended && open(), waitMs);
    };
  }

  async function poll() {
    if (polling || ended) return;
    polling = true;
    polledAt = clocks();
    try {
      for (;;) {
        const page = await api("GET", `/inbox?after=${after}`, undefined, { timeoutMs: 8000 });
        page.events.forEach(take);
        if (page.events.length < 200) break;
      }
      missing = false;
      heard();
      if (askAgain) {
        askAgain = false;
        reload();
      }
    } catch {
      // Silence is told by its age, a sign-in that is over by "signedout".
    } finally {
      polling = false;
      show();
    }
  }

  function show() {
    if (ended) source.close();
    const unknown = showConnection(ageMs(streamHeardAt) < SILENT_MS);
    if (wasUnknown && !unknown) reload();
    wasUnknown = unknown;
  }

  function look() {
    const [walls, evens] = clocks();
    const jumped = Math.abs(walls - wall - evens + even) > 2000; // it slept, or was set: asking tells what time it is
    [wall, even] = [walls, evens];
    const silent = missing || ageMs(streamHeardAt) >= SILENT_MS;
    if (jumped || (silent && ageMs(polledAt) >= POLL_MS)) poll();
    show();
  }

  open();
  setInterval(look, LOOK_MS);
  // A page that was out of sight has slept: first what it knows no more, then what is new.
  document.addEventListener("visibilitychange", () => document.hidden || (show(), poll()));
}
