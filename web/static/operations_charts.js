// Charts over an hour, a day or a week, drawn from samples; beside each line its last value in words.

import { drawChart } from "./chart.js";
import { api, el, number, paint, Problem, t } from "./page.js";
import { seconds } from "./operations_parts.js";

const EVERY_MS = 30000;
const CHARTS = [
  ["waiting", [["weighted_min", "--bad"], ["waiting", "--brand"], ["unplaced", "--warn-edge"]]],
  ["throughput", [["received_per_min", "--brand"], ["assigned_per_min", "--go"], ["readings_per_min", "--warn-edge"]]],
  ["depth", [["classify_depth", "--brand"], ["detect_depth", "--go"], ["dispatch_depth", "--warn-edge"]]],
  ["oldest_item", [["classify_oldest_s", "--brand"], ["detect_oldest_s", "--go"], ["dispatch_oldest_s", "--warn-edge"]]],
  ["canary_chart", [["classify_canary_s", "--brand"], ["detect_canary_s", "--go"], ["dispatch_canary_s", "--warn-edge"]]],
  ["p95_chart", [["first_offer_p95_s", "--brand"], ["first_answer_p95_s", "--warn-edge"], ["assigned_p95_s", "--go"]]],
];
let range = "1h";
let timer = null;

/** A figure as it is read: seconds with their unit, a fraction with one digit. */
function said(key, value) {
  if (value === null || value === undefined) return "–";
  return key.endsWith("_s") ? seconds(value) : number(value, Number.isInteger(value) ? 0 : 1);
}

/** Build the charts into `box` and keep them true. */
export function charts(box) {
  const buttons = ["1h", "24h", "7d"].map((name) => {
    const button = el("button", { type: "button", class: "plain", "aria-pressed": String(name === range) }, t(`operations.range_${name}`));
    button.addEventListener("click", () => {
      range = name;
      buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
      draw();
    });
    return button;
  });
  const figures = CHARTS.map(([name, series]) => {
    const node = el("div", { class: "chart", "aria-hidden": "true" });
    const words = el("figcaption", {});
    return { name, series, node, words, figure: el("figure", { class: "card" }, words, node) };
  });
  paint(
    box,
    el("h2", {}, t("operations.charts")),
    el("div", { class: "buttons", role: "group", "aria-label": t("operations.charts") }, buttons),
    el("div", { class: "charts", "data-keep": true }, figures.map(({ figure }) => figure)),
  );

  async function draw() {
    clearTimeout(timer);
    try {
      const found = await api("GET", `/operations/history?range=${range}`);
      const at = found.at_s.map((s) => s * 1000);
      for (const { name, series, node, words } of figures) {
        const last = series.map(([key, ink]) => [key, ink, found.series[key].findLast((value) => value !== null)]);
        paint(
          words,
          el("h3", {}, t(`operations.${name}`)),
          el("ul", { class: "legend" }, last.map(([key, ink, value]) => el("li", {}, el("span", { class: `ink ink-${ink.slice(2)}`, "aria-hidden": "true" }), `${t("operations.series_" + key)}: ${said(key, value)}`))),
        );
        await drawChart(node, { at, series: series.map(([key, ink]) => ({ name: t(`operations.series_${key}`), ink, values: found.series[key] })), low: 0 });
      }
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
    }
    timer = setTimeout(draw, EVERY_MS);
  }
  draw();
  // A screen that follows the daylight keeps no ink of the other half of the day.
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}
