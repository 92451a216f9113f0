// What an operator sees from two metres: one colour, one shape, one word, and what makes it so.

import { el, t, time, word } from "./page.js";
import { figure, level, MAY_ACT, person, short, timelineButton, worthShowing } from "./operations_parts.js";
import { muted, muteWords } from "./sound.js";

const HEAVY_MIN = 8; // a level 1 that waits a minute, a level 4 that waits eight
const NOBODY = ["nobody_acts", "nobody_accepted"];

/** What is wrong, as sentences: `bad` ones want somebody now, `warn` ones soon. */
function reasons(board) {
  const bad = NOBODY.map((why) => board.waiting.filter((shown) => shown.why === why))
    .filter((cases) => cases.length)
    .map((cases) => t("operations.because_cases", { why: word("operations.why", cases[0].why), n: cases.length, age: short(longest(cases).waits_s) }));
  // What an open alarm says, too, is said once: by the alarm, which somebody may take.
  const told = new Set(board.alarms.filter((alarm) => alarm.code === "process_silent").map((alarm) => alarm.subject));
  if (!board.redis_answers && !board.alarms.some((alarm) => alarm.code === "redis_silent")) bad.push(t("operations.redis_down"));
  for (const process of board.processes) {
    const known = told.has(process.kind) || told.has(process.name);
    if (!process.alive && !known && worthShowing(process, board)) bad.push(t("operations.because_process", { name: process.name }));
  }
  const warn = [];
  for (const alarm of board.alarms) {
    const list = alarm.critical && !alarm.acknowledged_at ? bad : warn;
    list.push(`${word("alarm", alarm.code)}: ${word("operations.part", alarm.subject)}`);
  }
  for (const { kind, pause } of board.queues) {
    if (pause) warn.push(t("operations.because_pause", { queue: word("operations.part", kind), since: time(pause.paused_at), until: time(pause.resume_at), reason: pause.reason, who: person(board, pause.paused_by) }));
  }
  const heavy = board.waiting.filter((shown) => shown.weighted_min > HEAVY_MIN && !NOBODY.includes(shown.why));
  if (heavy.length) warn.push(t("operations.because_heavy", { n: heavy.length, age: short(longest(heavy).waits_s) }));
  return { bad, warn };
}

function longest(cases) {
  return cases.reduce((worst, shown) => (shown.waits_s > worst.waits_s ? shown : worst));
}

export function verdict(board) {
  const { bad, warn } = reasons(board);
  const state = bad.length ? "bad" : warn.length ? "warn" : "good";
  const oldest = board.waiting.length ? longest(board.waiting) : null;
  return el(
    "section",
    { class: `verdict ${state}`, "aria-label": t("operations.verdict"), "data-key": "verdict" },
    el("p", { class: "verdict-word" }, el("span", { class: "shape", "aria-hidden": "true" }), t(`operations.verdict_${state}`)),
    bad.length || warn.length ? el("ul", { class: "reasons" }, [...bad, ...warn].map((said) => el("li", {}, said))) : null,
    el(
      "dl",
      { class: "verdict-figures" },
      figure(t("operations.weighted"), board.weighted_min < 10 ? board.weighted_min.toFixed(1) : Math.round(board.weighted_min)),
      figure(t("operations.waiting"), board.waiting.length),
      figure(t("operations.oldest"), oldest ? timelineButton(oldest.id, `${short(oldest.waits_s)} (${level(oldest.acuity)})`) : "–"),
      figure(t("operations.open_alarms"), board.alarms.length),
    ),
    el("p", { class: "quiet" }, t("operations.now", { time: time(board.at) }), " · ", t("operations.weighted_meaning")),
    MAY_ACT ? sound() : null,
  );
}

function sound() {
  const how = muted() ? "on" : "quarter";
  return el(
    "p",
    {},
    muteWords(),
    " ",
    el("button", { type: "button", class: "plain", "data-do": "mute", "data-how": how }, t(`er.mute_${how}`)),
  );
}
