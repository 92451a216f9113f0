// One offer, opened: the film and what is known of the patient, and the answers. Nothing here keeps
// a state of its own but which panels are open.

import { actions, config, countdown, el, number, roomName, serverNow, t, time, word } from "./page.js";
import { filmPanel, overlays, sizeStages } from "./er_film.js";
import { rules, scores } from "./meaning.js";
import { messages } from "./messages.js";
import { findings, triage } from "./findings.js";
import { acuity, eta, identity, offerState, patientLine, vitals } from "./patient.js";

const DELAYS_MIN = [5, 10, 15, 30];
const WAITING = new Set(["requested", "received"]);
const KEYS_OFF = "goldentime.keys_off";

const key = (letter) => el("kbd", { "aria-hidden": "true" }, letter);

/** The open offer, in whichever state it is. */
export function detail(offer, { unconfirmed }) {
  if (!offer) return el("p", { class: "quiet empty", "data-key": "none" }, t("er.choose"));
  const shown = offer.case;
  const held = offer.status === "accepted";
  return el(
    "article",
    { class: `card case-card ${held ? "held" : WAITING.has(offer.status) ? "waiting" : ""}`, tabindex: "-1", "data-key": offer.id, "data-id": offer.case_id },
    el("button", { type: "button", class: "link back", "data-do": "list" }, `← ${t("er.to_list")}`),
    header(offer, shown, held),
    unconfirmed ? el("p", { class: "note bad", role: "alert" }, t("er.unconfirmed")) : null,
    shown ? el("div", { class: "who-is" }, patientLine(shown), held ? identity(shown) : null) : null,
    shown ? body(offer, shown) : null,
    shown && !held ? answers(offer) : null,
    shown && held ? holding(offer, shown) : null,
  );
}

function header(offer, shown, held) {
  const waits = WAITING.has(offer.status);
  const known = offer.way;
  const late = waits && Date.parse(offer.answer_by_at) <= serverNow();
  const over = isOver(offer);
  return el(
    "header",
    { class: "offer-heading" },
    shown ? acuity(shown.acuity) : null,
    known && !over && shown?.status !== "arrived"
      ? el(
          "span",
          { class: "eta" },
          eta(offer),
          offer.distance_km === null ? null : el("small", {}, ` ${number(offer.distance_km, 1)} km`),
        )
      : null,
    stateOf(offer),
    el(
      "p",
      { class: "quiet" },
      [
        shown ? t("case.unit", { call_sign: shown.call_sign }) : null,
        t("case.number", { id: offer.case_id.slice(0, 8) }),
        time(held ? offer.decided_at : offer.offered_at),
      ].filter(Boolean).join(" · "),
    ),
    shown?.seems_arrived_at ? el("p", { class: "note good", role: "status" }, t("er.seems_arrived", { time: time(shown.seems_arrived_at) })) : null,
    late ? el("p", { class: "note" }, t("er.late")) : null,
    offer.status === "accepted_with_delay" ? el("p", { class: "note warn" }, t("er.counter_waits", { n: offer.delay_min })) : null,
  );
}

const isOver = ({ status, case: shown }) => status === "accepted" && ["closed", "cancelled"].includes(shown?.status);

/** How an offer stands: until when it waits, or what became of it. */
function stateOf(offer) {
  const { status, case: shown } = offer;
  if (WAITING.has(status)) return el("span", { class: "answer-by" }, el("small", {}, `${t("er.answer_by")} `), countdown(offer.answer_by_at));
  const held = status === "accepted";
  return el("strong", { class: held ? "yours" : "", role: "status" }, held && shown ? heldWords(shown, isOver(offer)) : offerState(offer));
}

/** Whose a patient is; without contact nobody knows, since it may have been given back meanwhile. */
function heldWords(shown, over) {
  if (over) return t(`case.status.${shown.status}`);
  if (document.body.classList.contains("state-unknown")) return t("er.yours_unknown");
  return t(shown.status === "assigned" ? "er.yours_unacknowledged" : `er.yours_${shown.status}`);
}

function body(offer, shown) {
  const trend = shown.vitals_trend?.length > 1;
  const where = shown.latitude !== null && shown.latitude !== undefined;
  return el(
    "div",
    { class: "clinical" },
    el("div", { class: "clinical-film" }, filmPanel(shown)),
    el(
      "div",
      { class: "clinical-facts" },
      el("div", {}, vitals(shown.vitals, pointsOf(shown.triage?.news2?.parts ?? {})), trend ? trendOf(shown) : null),
      findings(shown.image, scores),
      triage(shown, rules),
      where
        ? el(
            "details",
            { class: "where", "data-key": `${offer.id}-where`, open: matchMedia("(min-width: 1100px)").matches },
            el("summary", {}, t("er.map"), el("small", { class: "quiet" }, ` ${t("er.position_at", { time: time(shown.position_at) })}`)),
            el("div", { class: "map", "data-keep": true, "data-key": `${offer.id}-map` }),
          )
        : null,
    ),
  );
}

/** How many points each sign gives in NEWS2. */
function pointsOf(parts) {
  return (name) => {
    const part = parts[name === "blood_pressure" ? "systolic_bp_mmhg" : name] ?? null;
    return part === null ? null : el("span", { class: `points points-${part}`, title: t("vitals.points", { n: part }) }, `+${part}`);
  };
}

const LINES = [
  ["pulse_per_min", "--bad"],
  ["systolic_bp_mmhg", "--brand"],
  ["spo2_percent", "--go"],
  ["respiratory_rate_per_min", "--warn"],
];

function trendOf(shown) {
  const first = shown.vitals_trend[0];
  const last = shown.vitals_trend.at(-1);
  return el(
    "figure",
    { class: "trend", "data-key": `${shown.id}-trend` },
    el(
      "figcaption",
      {},
      LINES.map(([name, ink]) =>
        el("span", { class: `trend-name ink${ink}` }, `${t("vitals." + name)} ${first[name] ?? "–"} → ${last[name] ?? "–"}`),
      ),
    ),
    el("div", { class: "chart", "data-keep": true, "data-key": `${shown.id}-chart` }),
  );
}

let viewer = null; // its module, once somebody has asked for it
let opened = null; // the offer on the screen

/** Draw what needs a place in the page first: the film's frame, the chart, the map. */
export function afterPaint(root, offer) {
  opened = offer;
  sizeStages(root);
  viewer?.refresh(offer);
  if (!offer?.case) return;
  // First the film: each of the others is a library, which would keep the picture waiting.
  const film = root.querySelector(".stage img");
  if (film && !film.complete) {
    film.onload = film.onerror = () => requestAnimationFrame(() => afterPaint(root, opened));
    return;
  }
  const chart = root.querySelector(".chart");
  const sets = offer.case.vitals_trend ?? [];
  if (chart && chart.dataset.sets !== String(sets.length)) {
    chart.dataset.sets = String(sets.length);
    const series = LINES.map(([name, ink]) => ({ name: t(`vitals.${name}`), ink, values: sets.map((s) => s[name]) }));
    import("./chart.js").then(({ drawChart }) => drawChart(chart, { at: sets.map((s) => s.recorded_at), series, low: 0 }));
  }
  const map = root.querySelector(".map");
  if (map?.closest("details").open) mapOf(map, offer);
}

function mapOf(node, offer) {
  const { case: shown, emergency_room: room } = offer;
  const points = [
    { id: "case", kind: "ambulance", name: shown.call_sign, latitude: shown.latitude, longitude: shown.longitude },
    { id: "room", kind: "emergency_room", name: roomName(room), latitude: room.latitude, longitude: room.longitude },
  ];
  const drawn = JSON.stringify(points);
  if (node.dataset.drawn === drawn) return;
  node.dataset.drawn = drawn;
  import("./map.js").then(({ drawMap }) => drawMap(node, { points, lines: [["case", "room"]] }));
}

function decide(offer, decision, more, ...children) {
  return el(
    "button",
    {
      type: "button",
      "data-do": "decide",
      "data-offer": offer.id,
      "data-decision": decision,
      "aria-disabled": "arming" in document.body.dataset ? "true" : null,
      "data-key": `${offer.id}-${decision}-${Object.values(more).join()}`,
      ...more,
    },
    ...children,
  );
}

function answers(offer) {
  const other = config.language === "ko" ? "en" : "ko";
  return el(
    "div",
    { class: "answers" },
    decide(offer, "accept", { class: "accept" }, el("b", {}, t("er.accept")), el("small", { lang: other }, t("er.accept_sub")), key("A")),
    WAITING.has(offer.status)
      ? el(
          "div",
          { class: "delays", role: "group", "aria-label": t("er.accept_in") },
          el("span", { "aria-hidden": "true" }, t("er.accept_in")),
          DELAYS_MIN.map((n) => decide(offer, "accept_with_delay", { "data-delay": n, class: "delay plain" }, t("common.minutes", { n }))),
        )
      : null,
    el(
      "details",
      { class: "cannot", "data-key": `${offer.id}-cannot` },
      el("summary", { class: "button plain" }, t("er.cannot"), el("small", { lang: other }, t("er.cannot_sub")), key("D")),
      reasons(t("er.cannot_why"), (code, words) => decide(offer, "reject", { "data-reason": code, class: "plain" }, words)),
    ),
  );
}

function reasons(why, make) {
  return [
    el("p", { class: "quiet" }, why),
    el("div", { class: "reasons" }, config.reasons.map((code, i) => make(code, [i < 9 ? key(i + 1) : null, t(`decline.${code}`)]))),
  ];
}

function holding(offer, shown) {
  const over = ["closed", "cancelled"].includes(shown.status);
  const here = shown.status === "arrived";
  return el(
    "div",
    { class: "holding" },
    here
      ? el("button", { type: "button", class: "primary big", "data-do": "handedOver", "data-case": shown.id, "data-key": `${offer.id}-over` }, t("case.status.closed"))
      : null,
    here || shown.status === "closed" ? outcome(shown) : null,
    over ? null : messages(offer.case_id, ["ambulance", "control_room"]),
    over || here ? null : instructions(shown),
    over || here
      ? null
      : el(
          "details",
          { class: "cannot", "data-key": `${offer.id}-withdraw` },
          el("summary", { class: "button plain" }, t("er.withdraw")),
          reasons(t("er.withdraw_why"), (code, words) =>
            el("button", { type: "button", class: "plain", "data-do": "withdraw", "data-offer": offer.id, "data-reason": code }, words),
          ),
        ),
  );
}

/** What the crew should do before it arrives. */
function instructions(shown) {
  const given = shown.instructions;
  const asked = new Set(given?.items ?? []);
  return el(
    "details",
    { class: "instruct", "data-key": `${shown.id}-instruct` },
    el(
      "summary",
      {},
      t("er.instruct"),
      given ? el("small", { class: "quiet" }, ` ${given.seen_at ? t("er.instruct_seen", { time: time(given.seen_at) }) : t("er.instruct_sent", { time: time(given.given_at) })}`) : null,
    ),
    el(
      "form",
      { "data-instruct": shown.id, "data-keep": true, "data-key": `${shown.id}-instruct-${given?.given_at ?? ""}`, class: "stack" },
      el(
        "div",
        { class: "checks" },
        config.instructions.map((item) =>
          el("label", { class: "check" }, el("input", { type: "checkbox", name: "items", value: item, checked: asked.has(item) }), t(`instruction.${item}`)),
        ),
      ),
      el("label", {}, t("er.instruct_note"), el("input", { name: "note", maxlength: 1000, autocomplete: "off", value: given?.note ?? "" })),
      el("button", { type: "submit", class: "primary" }, t("er.instruct_send")),
    ),
  );
}

/** What became of the patient: the crew hears it. */
function outcome(shown) {
  const told = shown.outcome;
  return el(
    "details",
    { class: "outcome", "data-key": `${shown.id}-outcome`, open: !told },
    el("summary", {}, t("er.outcome"), told ? el("small", { class: "quiet" }, ` ${told.diagnosis} · ${word("disposition", told.disposition)} (${time(told.recorded_at)})`) : null),
    el(
      "form",
      { "data-outcome": shown.id, "data-keep": true, "data-key": `${shown.id}-outcome-${told?.recorded_at ?? ""}`, class: "stack" },
      el("label", {}, t("er.outcome_diagnosis"), el("input", { name: "diagnosis", required: true, maxlength: 500, autocomplete: "off", value: told?.diagnosis ?? "" })),
      el(
        "label",
        {},
        t("er.outcome_disposition"),
        el("select", { name: "disposition", required: true }, config.dispositions.map((d) => el("option", { value: d, selected: d === told?.disposition }, t(`disposition.${d}`)))),
      ),
      el("button", { type: "submit", class: "primary" }, t("er.outcome_send")),
    ),
  );
}

// --- keys: off by one switch, for who speaks to the machine or leans on the keyboard --------------

const keysOff = () => localStorage.getItem(KEYS_OFF) === "1";

function pressKey(event, step) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target.closest?.("input, textarea, select, dialog")) return;
  const card = document.querySelector(".case-card");
  const open = card?.querySelector(".cannot[open]");
  const letter = event.key.toLowerCase();
  if (letter === "?") return help();
  if (keysOff()) return;
  const press = (selector) => card?.querySelector(selector)?.click();
  if (letter === "j" || letter === "arrowdown") step(1);
  else if (letter === "k" || letter === "arrowup") step(-1);
  else if (letter === "a") press('[data-decision="accept"]');
  else if (letter === "d") {
    press(".cannot > summary");
    card?.querySelector(".cannot[open] .reasons button")?.focus();
  } else if (letter === "f") press('[data-do="fullFilm"]');
  else if (letter === "b") press('[data-do="overlay"]');
  else if (/^[1-9]$/.test(letter) && open) open.querySelectorAll(".reasons button")[Number(letter) - 1]?.click();
  else return;
  event.preventDefault();
}

/** The list of keys, with the switch that turns them off. */
function help() {
  const rows = [["J ↓", "next"], ["K ↑", "previous"], ["A", "accept"], ["D 1–9", "decline"], ["F", "film"], ["B", "overlay"], ["?", "help"]];
  const dialog = el(
    "dialog",
    { class: "card keys", "aria-labelledby": "keys-title" },
    el("h2", { id: "keys-title" }, t("er.keys")),
    el("dl", { class: "facts" }, rows.map(([letters, name]) => [el("dt", {}, el("kbd", {}, letters)), el("dd", {}, t(`er.key_${name}`))])),
    el("label", { class: "check" }, el("input", { type: "checkbox", "data-keys": true, checked: !keysOff() }), t("er.keys_on")),
    el("form", { method: "dialog" }, el("button", { type: "submit", class: "primary" }, t("common.close"))),
  );
  dialog.addEventListener("change", (event) => localStorage.setItem(KEYS_OFF, event.target.checked ? "0" : "1"));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

/** Wire what an opened case offers; change() sends, step() moves in the list, show() repaints. */
export function wireCase({ change, step, show }) {
  actions.overlay = (button) => {
    overlays.toggle(button.dataset.case, button.dataset.overlay);
    show();
  };
  actions.fullFilm = async () => {
    const offer = opened;
    viewer = await import("./viewer.js");
    viewer.openViewer(offer, { stateOf, changed: show, keysOff });
  };
  actions.keys = help;
  document.addEventListener("keydown", (event) => pressKey(event, step));
  document.addEventListener("toggle", (event) => event.target.matches?.(".where") && afterPaint(document, opened), true);
  document.addEventListener("submit", (event) => {
    const form = event.target;
    const { instruct, outcome: told } = form.dataset;
    if (!instruct && !told) return;
    event.preventDefault();
    const fields = new FormData(form);
    const button = form.querySelector("[type=submit]");
    if (told) change(button, "PUT", `/cases/${told}/outcome`, Object.fromEntries(fields));
    else change(button, "PUT", `/cases/${instruct}/instructions`, { items: fields.getAll("items"), note: fields.get("note").trim() || null });
  });
}
