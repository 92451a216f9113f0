// What was short in the last day, over all ERs together, and how old the bed figures are.

import { api, config, el, number, paint, Problem, t, word } from "./page.js";

const clock = new Intl.DateTimeFormat(config.locale, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

/** Fetch and show the shortages; quiet when the server does not answer: the next look will. */
export async function showShortages(parent) {
  let found;
  try {
    found = await api("GET", "/control-room/shortages?hours=24");
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    return;
  }
  const reasons = Object.entries(found.by_reason).filter(([, count]) => count > 0);
  const hours = found.hours.filter((hour) => hour.asked > 0).reverse();
  paint(
    parent,
    el("p", {}, t("shortage.total", { asked: found.asked, no: found.answered_no })),
    found.elsewhere ? el("p", t("shortage.elsewhere", { n: found.elsewhere })) : null,
    reasons.length
      ? el("ul", {}, reasons.sort((a, b) => b[1] - a[1]).map(([code, count]) => el("li", {}, `${word("decline", code)}: ${count}`)))
      : el("p", { class: "quiet" }, t("shortage.none")),
    hours.length
      ? el(
          "div",
          { class: "scroll", tabindex: "0", role: "region", "aria-label": t("shortage.by_hour") },
          el(
            "table",
            {},
            el(
              "thead",
              {},
              el("tr", {}, ["hour", "asked", "no", "reasons"].map((name) => el("th", { scope: "col" }, t(`shortage.${name}`)))),
            ),
            el(
              "tbody",
              {},
              hours.map((hour) =>
                el(
                  "tr",
                  {},
                  el("th", { scope: "row" }, clock.format(new Date(hour.begins_at))),
                  el("td", {}, hour.asked),
                  el("td", {}, hour.answered_no),
                  el("td", {}, Object.entries(hour.by_reason).map(([code, n]) => `${word("decline", code)} ${n}`).join(", ")),
                ),
              ),
            ),
          ),
        )
      : null,
  );
}

/** One line about the feed of free beds; nothing where no feed is expected. */
export function feedLine(feed) {
  if (!feed.on) return el("p", { class: "quiet" }, t("beds.feed_off"));
  if (feed.age_s === null) return el("p", { class: "note warn" }, t("beds.feed_never"));
  const age = { n: number(Math.round(feed.age_s / 60)) };
  return feed.silent
    ? el("p", { class: "alarm" }, t("beds.feed_silent", age), feed.error ? ` (${feed.error})` : null)
    : el("p", { class: "quiet" }, t("beds.feed_age", age));
}
