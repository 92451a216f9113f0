// The page of operations: queues, processes, who waits. Polls rows; shows nothing clinical.

import { actions, api, config, el, notice, paint, press, Problem, session, t, time, word } from "./page.js";
import { heard, showConnection, signedOut } from "./live.js";

const EVERY_MS = 2000;
const REPLACED_MS = 300000;
const MAY_REQUEUE = new Set(["operations", "admin"]);
const box = document.getElementById("operations");

function seconds(value) {
  if (value === null || value === undefined) return "–";
  return t("operations.seconds", { n: value < 10 ? value.toFixed(1) : Math.round(value) });
}

function table(caption, heads, rows, empty) {
  return el(
    "section",
    {},
    el("h2", {}, caption),
    rows.length
      ? el(
          "div",
          { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
          el(
            "table",
            {},
            el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
            el("tbody", {}, rows),
          ),
        )
      : el("p", { class: "quiet empty" }, empty),
  );
}

function queueRow(queue) {
  return el(
    "tr",
    { "data-key": queue.kind, class: queue.dead ? "bad" : null },
    el("th", { scope: "row" }, queue.kind),
    [
      queue.pending,
      queue.running,
      queue.dead,
      seconds(queue.oldest_pending_s),
      queue.done_last_hour,
      `${seconds(queue.wait_p50_s)} / ${seconds(queue.wait_p95_s)}`,
      queue.doorbells ?? "–",
    ].map((value) => el("td", {}, value)),
  );
}

function processRow(process, now) {
  const ago = Math.max(0, Math.round((Date.parse(now) - Date.parse(process.beat_at)) / 1000));
  return el(
    "tr",
    { "data-key": process.name, class: process.alive ? null : "bad" },
    el("th", { scope: "row" }, process.name),
    el("td", {}, t(process.alive ? "operations.alive" : "operations.silent")),
    el("td", {}, t("operations.ago", { n: ago })),
  );
}

function caseRow(shown) {
  const due = shown.deadline_in_s;
  const flags = [
    shown.partial ? t("operations.partial") : null,
    shown.needs_review ? t("operations.review") : null,
    shown.dead_readings ? t("operations.dead_readings", { n: shown.dead_readings }) : null,
  ].filter(Boolean);
  return el(
    "tr",
    { "data-key": shown.id, class: shown.dead_readings ? "bad" : null },
    el("th", { scope: "row" }, shown.id.slice(0, 8)),
    el("td", {}, shown.call_sign),
    el("td", {}, word("case.status", shown.status)),
    el("td", {}, shown.acuity ?? "–"),
    el("td", {}, shown.round),
    el("td", {}, seconds(shown.age_s)),
    el("td", {}, due === null ? "–" : due < 0 ? t("operations.overdue", { n: Math.round(-due) }) : seconds(due)),
    el(
      "td",
      { class: "notes" },
      flags.join(", "),
      shown.dead_readings && MAY_REQUEUE.has(config.role)
        ? [" ", el("button", { type: "button", "data-do": "requeue", "data-case": shown.id }, t("operations.requeue"))]
        : null,
    ),
  );
}

/** Not those that were replaced long ago. */
function worthShowing(process, all, now) {
  if (process.alive || Date.parse(now) - Date.parse(process.beat_at) < REPLACED_MS) return true;
  return !all.some((other) => other.alive && other.kind === process.kind);
}

function show(queues, cases) {
  const processes = queues.processes.filter((p) => worthShowing(p, queues.processes, queues.at));
  const well =
    queues.redis_answers &&
    processes.every((p) => p.alive) &&
    queues.queues.every((q) => !q.dead);
  paint(
    box,
    el(
      "p",
      { class: queues.redis_answers ? "quiet" : "note bad" },
      t(queues.redis_answers ? "operations.redis_up" : "operations.redis_down"),
      " · ",
      t("operations.now", { time: time(queues.at) }),
    ),
    well ? el("p", { class: "note good" }, t("operations.all_well")) : null,
    table(
      t("operations.queues"),
      ["kind", "pending", "running", "dead", "oldest", "done", "wait", "doorbells"].map((k) => t(`operations.${k}`)),
      queues.queues.map(queueRow),
    ),
    table(
      t("operations.cases"),
      ["case", "unit", "state", "level", "round", "age", "deadline", "flags"].map((k) => t(`operations.${k}`)),
      cases.map(caseRow),
      t("operations.no_cases"),
    ),
    el(
      "section",
      {},
      el("h2", {}, t("operations.by_status")),
      el(
        "dl",
        { class: "tiles" },
        Object.entries(queues.cases_by_status).map(([status, n]) =>
          el("div", {}, el("dt", {}, word("case.status", status)), el("dd", {}, n)),
        ),
      ),
    ),
    table(
      t("operations.processes"),
      ["process", "state", "beat"].map((k) => t(`operations.${k}`)),
      processes.map((process) => processRow(process, queues.at)),
    ),
  );
}

async function poll() {
  try {
    const [queues, cases] = await Promise.all([
      api("GET", "/operations/queues", undefined, { timeoutMs: 8000 }),
      api("GET", "/operations/cases", undefined, { timeoutMs: 8000 }),
    ]);
    heard();
    show(queues, cases);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (problem.status === 401) return signedOut();
  }
  setTimeout(poll, EVERY_MS);
}

actions.requeue = (button) =>
  press(button, async () => {
    const { readings } = await api("POST", `/operations/cases/${button.dataset.case}/requeue`);
    notice(t("operations.requeued", { n: readings.length }));
  });

session()
  .then((who) => paint(document.getElementById("who"), who.display_name))
  .catch(() => {});
setInterval(() => showConnection(true), 1000);
poll();
