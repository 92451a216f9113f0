// Small parts of operations' page: tables, times, levels, names.

import { config, el, number, t, word } from "./page.js";

export const MAY_ACT = ["operations", "admin"].includes(config.role);

export function th(...content) {
  return el("th", { scope: "row" }, ...content);
}

export function td(...content) {
  return el("td", {}, ...content);
}

/** A captioned table whose heads are keys of operations.*, or a sentence when it has no row. */
export function table(caption, heads, rows, empty = "") {
  return el(
    "section",
    { "data-key": caption },
    el("h2", {}, caption),
    rows.length
      ? el(
          "div",
          { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
          el(
            "table",
            {},
            el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, t(`operations.${head}`))))),
            el("tbody", {}, rows),
          ),
        )
      : el("p", { class: "quiet empty" }, empty),
  );
}

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  return value < 10 ? t("operations.seconds", { n: value.toFixed(1) }) : short(value);
}

/** Seconds, minutes or hours, whichever is read at a glance. */
export function short(value) {
  if (value < 100) return t("operations.seconds", { n: Math.round(value) });
  if (value < 6000) return t("operations.minutes", { n: Math.round(value / 60) });
  return t("operations.hours", { n: (value / 3600).toFixed(1) });
}

export function ago(now, then) {
  return t("operations.ago", { age: short(Math.max(0, (Date.parse(now) - Date.parse(then)) / 1000)) });
}

/** Facts of an alarm or of a timeline's entry in words, each with its unit, which its name ends with. */
export function factWords(facts) {
  return Object.entries(facts)
    .filter(([, fact]) => fact !== null)
    .map(([name, fact]) => `${word("operations.fact", name)}: ${withUnit(name, fact)}`)
    .join(" · ");
}

function withUnit(name, fact) {
  if (name === "seconds" || name.endsWith("_s")) return seconds(Number(fact));
  if (name.endsWith("_bytes") || name === "byte_count") return t("operations.megabytes", { n: number(fact / 1e6, 1) });
  if (name.endsWith("_min")) return t("operations.minutes", { n: fact });
  return fact;
}

export function figure(name, value) {
  return el("div", {}, el("dt", {}, name), el("dd", {}, value));
}

/** Opens a case's timeline. */
export function timelineButton(id, text = id.slice(0, 8)) {
  return el("button", { type: "button", class: "link", "data-do": "timeline", "data-case": id }, text);
}

/** Not those whose place another took on the same machine. */
export function worthShowing(process, board) {
  const node = (name) => name.split("@")[1]?.split(":")[0];
  return process.alive || !board.processes.some((other) => other.alive && other.kind === process.kind && node(other.name) === node(process.name) && other.started_at >= process.beat_at);
}

export function level(acuity) {
  return acuity ? t("operations.level_n", { n: acuity }) : t("operations.level_unknown");
}

/** What people call whoever did something. */
export function person(answer, actor) {
  if (!actor) return "–";
  return answer.names?.[actor] ?? (actor === "system" ? t("operations.by_itself") : actor);
}
