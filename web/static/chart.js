// Lines over time (uPlot), in the colours of the page; for vitals, queues and rates.

import { config, el } from "./page.js";
import { vendored } from "./vendored.js";

const charts = new WeakMap(); // the element to its chart

/** A custom property as the colour it is just now; a canvas knows no light-dark(). */
function resolved(name) {
  const probe = el("span", { hidden: true });
  document.body.append(probe);
  probe.style.color = `var(${name})`;
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

/**
 * Draw into `node`: `at` are times (ISO or ms, rising), each of `series` has {name, values (null is
 * a gap), ink (custom property), unit, low, high}. Again: the data are replaced. What a chart says
 * must stand beside it in words or a table, too: a canvas says nothing to a screen reader.
 */
export async function drawChart(node, { at, series, height = 140, low = null, high = null }) {
  const { default: Plot } = await vendored("uplot");
  const seconds = at.map((time) => (typeof time === "number" ? time : Date.parse(time)) / 1000);
  const data = [seconds, ...series.map((line) => line.values)];
  const shape = JSON.stringify([series.map((line) => [line.name, line.ink, line.unit]), height, low, high, resolved("--ink")]);
  const known = charts.get(node);
  if (known?.shape === shape) {
    known.plot.setData(data);
    return;
  }
  known?.plot.destroy();
  known?.watcher.disconnect();
  const clock = new Intl.DateTimeFormat(config.locale, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const day = new Intl.DateTimeFormat(config.locale, { day: "numeric", month: "short" });
  const axis = { stroke: resolved("--quiet"), grid: { stroke: resolved("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
  const plot = new Plot(
    {
      width: node.clientWidth || 300,
      height,
      legend: { show: false },
      cursor: { drag: { x: false, y: false } },
      scales: { x: { time: true }, y: { range: (_, from, to) => [low ?? from, high ?? (to === from ? to + 1 : to)] } },
      axes: [
        { ...axis, values: (_, ticks) => ticks.map((tick, i) => (i > 0 && new Date(tick * 1000).getDate() !== new Date(ticks[i - 1] * 1000).getDate() ? day : clock).format(tick * 1000)) },
        { ...axis, size: 44, values: (_, ticks) => ticks.map((tick) => tick.toLocaleString(config.locale)) },
      ],
      series: [
        {},
        ...series.map((line) => ({ label: line.name, stroke: resolved(line.ink ?? "--brand"), width: 2, points: { show: seconds.length < 40, size: 6 }, spanGaps: true })),
      ],
    },
    data,
    node,
  );
  const watcher = new ResizeObserver(() => node.clientWidth && plot.setSize({ width: node.clientWidth, height }));
  watcher.observe(node);
  charts.set(node, { plot, shape, watcher });
}
