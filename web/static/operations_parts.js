// Small parts of operations' page: tables, times, levels, names.

import { config, el, t } from "./page.js";

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
  return t("operations.ago", { n: Math.max(0, Math.round((Date.parse(now) - Date.parse(then)) / 1000)) });
}

export function level(acuity) {
  return acuity ? t("operations.level_n", { n: acuity }) : t("operations.level_unknown");
}

/** What people call whoever did something. */
export function person(answer, actor) {
  if (!actor) return "–";
  return answer.names?.[actor] ?? (actor === "system" ? t("operations.by_itself") : actor);
}
