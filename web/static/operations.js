// The page of operations: is anybody waiting, and why. Polls rows; shows nothing clinical.

import { actions, api, el, notice, paint, press, session, t, time, word } from "./page.js";
import { charts } from "./operations_charts.js";
import { closePanel, openPanel } from "./operations_panel.js";
import { ago, factWords, figure, level, MAY_ACT, person, seconds, short, table, td, th, timelineButton, worthShowing } from "./operations_parts.js";
import { verdict } from "./operations_verdict.js";
import { ring, wireSound } from "./sound.js";
import { watch } from "./watch.js";

const EVERY_MS = 2000;
const LEVELS = [1, 2, 3, 4, 5, null];
const box = document.getElementById("operations");

function alarms(board) {
  return el(
    "section",
    { "data-key": "alarms" },
    el("h2", {}, t("operations.alarms")),
    board.alarms.length
      ? el("ul", { class: "alarms" }, board.alarms.map((alarm) => alarmRow(alarm, board)))
      : el("p", { class: "quiet empty" }, t("operations.no_alarms")),
  );
}

function alarmRow(alarm, board) {
  const taken = alarm.acknowledged_at;
  return el(
    "li",
    { class: `alarm ${taken ? "taken" : alarm.critical ? "bad" : "warn"}`, "data-key": alarm.id },
    el(
      "div",
      {},
      el("strong", {}, word("alarm", alarm.code), " – ", word("operations.part", alarm.subject)),
      el("p", { class: "quiet" }, factWords(alarm.details)),
      el(
        "p",
        { class: "quiet" },
        t("operations.since", { time: time(alarm.opened_at) }),
        alarm.repeats ? ` · ${t("operations.repeated", { n: alarm.repeats })}` : "",
        taken ? ` · ${t("operations.taken_by", { who: person(board, alarm.acknowledged_by), time: time(taken) })}` : "",
      ),
    ),
    MAY_ACT
      ? el(
          "div",
          { class: "buttons" },
          taken ? null : el("button", { type: "button", class: "primary", "data-do": "take", "data-id": alarm.id }, t("operations.take")),
          el("button", { type: "button", class: "plain", "data-do": "close_alarm", "data-id": alarm.id }, t("operations.close_alarm")),
        )
      : null,
  );
}

function waiting(board) {
  return table(
    t("operations.who_waits"),
    ["case", "level", "waits", "why", "state", "weighted_short", "unit", "round", "deadline", "flags"],
    board.waiting.map((shown) =>
      el(
        "tr",
        { "data-key": shown.id, class: ["nobody_acts", "nobody_accepted"].includes(shown.why) ? "bad" : null },
        th(timelineButton(shown.id)),
        td(level(shown.acuity)),
        td(short(shown.waits_s)),
        td(word("operations.why", shown.why)),
        td(word("case.status", shown.status)),
        td(shown.weighted_min.toFixed(1)),
        td(shown.call_sign),
        td(shown.round),
        td(shown.deadline_in_s === null ? "–" : shown.deadline_in_s < 0 ? t("operations.overdue", { n: Math.round(-shown.deadline_in_s) }) : short(shown.deadline_in_s)),
        el("td", { class: "notes" }, flags(shown)),
      ),
    ),
    t("operations.nobody_waits"),
  );
}

function flags(shown) {
  const found = [
    shown.partial ? t("operations.partial") : null,
    shown.needs_review ? t("operations.review") : null,
    shown.dead_readings ? t("operations.dead_readings", { n: shown.dead_readings }) : null,
  ].filter(Boolean);
  const again = el("button", { type: "button", "data-do": "requeue", "data-case": shown.id }, t("operations.requeue"));
  return [found.join(", "), shown.dead_readings && MAY_ACT ? [" ", again] : null];
}

function states(board) {
  const words = [...new Set(board.states.map((row) => row.status))];
  return table(
    t("operations.by_status"),
    ["state", ...LEVELS.map((acuity) => (acuity === null ? "level_none" : `level_${acuity}`))],
    words.map((status) =>
      el(
        "tr",
        { "data-key": status },
        th(word("case.status", status)),
        LEVELS.map((acuity) => {
          const cell = board.states.find((row) => row.status === status && row.acuity === acuity);
          if (!cell) return td("·");
          const name = `${cell.count} (${short(cell.oldest_s)})`;
          return td(el("button", { type: "button", class: "link", "data-do": "drill", "data-query": `cases?status=${status}&acuity=${acuity ?? ""}`, "data-name": `${word("case.status", status)}, ${level(acuity)}` }, name));
        }),
      ),
    ),
    t("operations.no_cases"),
  );
}

function queues(board) {
  return table(
    t("operations.queues"),
    ["kind", "pending", "oldest", "running", "dead", "progress", "canary", "doorbells", "wait", "act"],
    board.queues.map((queue) =>
      el(
        "tr",
        { "data-key": queue.kind, class: queue.dead ? "bad" : null },
        th(word("operations.part", queue.kind), queue.pause ? el("span", { class: "badge loud" }, t("operations.paused")) : null),
        td(queue.pending ? drill(queue.pending, `behind?queue=${queue.kind}`, word("operations.part", queue.kind)) : 0),
        td(seconds(queue.oldest_pending_s)),
        td(queue.running ? drill(queue.running, `behind?queue=${queue.kind}`, word("operations.part", queue.kind)) : 0),
        td(queue.dead ? el("a", { href: "#dead-letters" }, queue.dead) : 0),
        td(queue.progress_at ? ago(board.at, queue.progress_at) : "–"),
        td(queue.canary ? (queue.canary.error ? t("operations.canary_failed") : seconds(queue.canary.roundtrip_s)) : "–"),
        td(queue.doorbells ?? "–"),
        td(`${seconds(queue.wait_p50_s)} / ${seconds(queue.wait_p95_s)}`),
        el("td", { class: "notes" }, queueAct(queue, board)),
      ),
    ),
  );
}

function queueAct(queue, board) {
  const said = queue.pause
    ? t("operations.paused_by", { who: person(board, queue.pause.paused_by), reason: queue.pause.reason, time: time(queue.pause.resume_at) })
    : null;
  if (!MAY_ACT) return said ?? "–";
  return queue.pause
    ? [said, " ", el("button", { type: "button", "data-do": "resume", "data-queue": queue.kind }, t("operations.resume"))]
    : el("button", { type: "button", class: "plain", "data-do": "pause", "data-queue": queue.kind }, t("operations.pause"));
}

function drill(text, query, name) {
  return el("button", { type: "button", class: "link", "data-do": "drill", "data-query": query, "data-name": name }, text);
}

function processes(board) {
  return table(
    t("operations.processes"),
    ["process", "state", "beat", "progress"],
    board.processes
      .filter((process) => worthShowing(process, board))
      .map((process) =>
        el(
          "tr",
          { "data-key": process.name, class: process.alive ? null : "bad" },
          th(process.name),
          td(t(process.alive ? "operations.alive" : "operations.silent")),
          td(ago(board.at, process.beat_at)),
          td(process.progress_at ? ago(board.at, process.progress_at) : "–"),
        ),
      ),
  );
}

function stages(board) {
  const rows = board.stages.flatMap(({ stage, rows: of }) => of.filter((row) => row.count).map((row) => ({ stage, ...row })));
  const inAll = rows.filter((row) => row.acuity === null);
  const byLevel = rows.filter((row) => row.acuity !== null);
  return [
    stageTable(t("operations.stages"), inAll, board),
    byLevel.length ? el("details", { "data-key": "stages-by-level" }, el("summary", {}, t("operations.stages_by_level")), stageTable(t("operations.stages_by_level"), byLevel, board)) : null,
  ];
}

function stageTable(caption, rows, board) {
  return table(
    caption,
    ["stage", "level", "count", "p50", "p95", "p99"],
    rows.map((row) =>
      el(
        "tr",
        { "data-key": `${row.stage}-${row.acuity}` },
        th(word("operations.stage", row.stage)),
        td(row.acuity === null ? t("operations.all") : level(row.acuity || null)),
        td(drill(row.count, `behind?stage=${row.stage}&hours=${board.hours}${row.acuity === null ? "" : "&acuity=" + row.acuity}`, word("operations.stage", row.stage))),
        td(seconds(row.p50_s)),
        td(seconds(row.p95_s)),
        td(seconds(row.p99_s)),
      ),
    ),
    t("operations.no_stages"),
  );
}

function rates(board) {
  const flow = board.throughput;
  return [
    el(
      "section",
      { "data-key": "flow" },
      el("h2", {}, t("operations.throughput")),
      el(
        "dl",
        { class: "tiles" },
        ["received", "assigned", "readings"].map((name) => figure(t(`operations.flow_${name}`), drill(flow[`${name}_per_min`].toFixed(1), `behind?flow=${name}`, t(`operations.flow_${name}`)))),
      ),
    ),
    table(
      t("operations.rates"),
      ["region", "answered", "rate", "median"],
      board.answer_rates.map((row) =>
        el(
          "tr",
          { "data-key": row.place || "none" },
          th(row.place || t("operations.no_region")),
          td(drill(`${row.answered} / ${row.ended}`, `behind?region=${encodeURIComponent(row.place)}`, row.place || t("operations.no_region"))),
          td(`${Math.round(row.rate * 100)} %`),
          td(seconds(row.median_answer_s)),
        ),
      ),
      t("operations.no_rates"),
    ),
  ];
}

function deadLetters(letters) {
  return el(
    "section",
    { "data-key": "dead", id: "dead-letters" },
    table(
      t("operations.dead_letters"),
      ["case", "kind", "attempts", "error", "since_head", "act"],
      letters.map((letter) =>
        el(
          "tr",
          { "data-key": letter.reading_id, class: "bad" },
          th(timelineButton(letter.case_id)),
          td(word("operations.part", letter.kind)),
          td(letter.attempts),
          el("td", { class: "notes" }, word("operations.gave_up", letter.error_code)),
          td(time(letter.finished_at)),
          el(
            "td",
            { class: "notes" },
            MAY_ACT
              ? el(
                  "span",
                  { class: "buttons" },
                  ["dry", "replay", "close_letter"].map((name) => el("button", { type: "button", class: "plain", "data-do": name, "data-id": letter.reading_id }, t(`operations.${name}`))),
                )
              : "–",
          ),
        ),
      ),
      t("operations.no_dead_letters"),
    ),
    letters.length > 1 && MAY_ACT ? el("button", { type: "button", "data-do": "replay_all" }, t("operations.replay_all", { n: letters.length })) : null,
  );
}

function show(board, letters) {
  paint(document.getElementById("verdict"), verdict(board));
  paint(box, alarms(board), waiting(board), states(board), queues(board), processes(board), deadLetters(letters), ...rates(board), ...stages(board));
  const open = board.alarms.filter((alarm) => !alarm.acknowledged_at);
  ring(MAY_ACT ? open.map((alarm) => (alarm.critical ? 1 : 3)) : []);
  document.title = `${open.length ? "(" + open.length + ") " : ""}${t("page.operations")} · ${t("app.name")}`;
}

async function look() {
  const [board, letters] = await Promise.all([
    api("GET", "/operations/board", undefined, { timeoutMs: 8000 }),
    api("GET", "/operations/dead-letters", undefined, { timeoutMs: 8000 }),
  ]);
  show(board, letters);
}

function change(path, said) {
  return (button) => press(button, async () => notice(said(await api("POST", path(button.dataset)))));
}

Object.assign(actions, {
  requeue: change((d) => `/operations/cases/${d.case}/requeue`, (found) => t("operations.requeued", { n: found.readings.length })),
  take: change((d) => `/operations/alarms/${d.id}/acknowledge`, () => t("operations.took")),
  close_alarm: change((d) => `/operations/alarms/${d.id}/close`, () => t("operations.closed")),
  resume: change((d) => `/operations/queues/${d.queue}/resume`, () => t("operations.resumed")),
  dry: change((d) => `/operations/dead-letters/${d.id}/replay?dry_run=1`, (found) => t(found.film_stored ? "operations.dry_good" : "operations.dry_bad")),
  replay: change((d) => `/operations/dead-letters/${d.id}/replay`, () => t("operations.requeued", { n: 1 })),
  close_letter: change((d) => `/operations/dead-letters/${d.id}/close`, () => t("operations.closed")),
  replay_all: change(() => "/operations/dead-letters/replay", (found) => t("operations.requeued", { n: found.readings.length })),
  timeline: (button) => openPanel("timeline", button.dataset),
  drill: (button) => openPanel("drill", button.dataset),
  pause: (button) => openPanel("pause", button.dataset),
  close_panel: closePanel,
});

document.getElementById("find").addEventListener("submit", (event) => {
  event.preventDefault();
  const id = new FormData(event.target).get("id").trim();
  openPanel("drill", { query: `find?id=${encodeURIComponent(id)}`, name: id });
});

session()
  .then((who) => paint(document.getElementById("who"), who.display_name))
  .catch(() => {});
wireSound(() => {});
charts(document.getElementById("charts"));
watch(look, EVERY_MS);
