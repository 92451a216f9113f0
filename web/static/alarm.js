// What a crew must not miss: over the whole screen, loud, again and again, until somebody confirms.

import { paint, place, t } from "./page.js";
import { play, sounds } from "./tone.js";

const EVERY_MS = 5000;
const ARMING_MS = 800; // a thumb that was about to press something else must not confirm
const LOOK_MS = 20000;
const GOOD = [[0, 660], [0.25, 880], [0.5, 1175]];
const BAD = [[0, 988], [0.3, 740], [0.6, 988], [0.9, 740]];

const box = place("alarm");
const part = (name) => place(`alarm-${name}`);
const quietUntil = new Map(); // by key: when it comes back; for good once confirmed
let now = null;

/** Put {key, kind, title, content} before everything else, or nothing (null). */
export function alarm(wanted) {
  const shown = wanted && (quietUntil.get(wanted.key) ?? 0) < performance.now() ? wanted : null;
  const news = shown && shown.key !== now?.key;
  now = shown;
  if (!shown) return box.close();
  box.className = `alarm alarm-${shown.kind}`;
  part("title").textContent = shown.title;
  part("lost").hidden = !document.body.classList.contains("state-unknown");
  part("hint").textContent = t(sounds() ? "crew.alarm_repeats" : "crew.alarm_silent");
  paint(part("content"), shown.content);
  if (!box.open) box.showModal();
  if (!news) return;
  box.dataset.arming = "";
  setTimeout(() => delete box.dataset.arming, ARMING_MS);
  ring();
}

/** Somebody has seen it: it does not come back, or only after a while. */
export function quiet({ forGood }) {
  if (now) quietUntil.set(now.key, forGood ? Infinity : performance.now() + LOOK_MS);
  alarm(null);
}

function ring() {
  play(now.kind === "assigned" ? GOOD : BAD);
  navigator.vibrate?.([400, 150, 400, 150, 400]);
}

box.addEventListener("cancel", (event) => event.preventDefault()); // Escape is no confirmation
box.addEventListener("click", (event) => "arming" in box.dataset && event.stopPropagation());
setInterval(() => now && ring(), EVERY_MS);
