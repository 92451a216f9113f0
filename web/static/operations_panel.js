// The panel of operations' page: the cases behind a figure, one case's timeline, a pause's reason.

import { api, config, el, notice, paint, press, Problem, t, time, word, wordsOf } from "./page.js";
import { factWords, level, person, short, table, td, th, timelineButton } from "./operations_parts.js";

const panel = document.getElementById("panel");
const body = document.getElementById("panel-body");
const heading = document.getElementById("panel-title");
let came = null; // what had the focus

/** Show one of the views below; Escape and its button close it again. */
export async function openPanel(view, data) {
  if (!panel.open) {
    came = document.activeElement;
    panel.showModal();
  }
  heading.textContent = data.name ?? data.case?.slice(0, 8) ?? word("operations.part", data.queue);
  paint(body, el("p", { class: "quiet busy" }, t("common.sending")));
  try {
    paint(body, await views[view](data));
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    paint(body, el("p", { class: "note bad" }, wordsOf(problem)));
  }
  heading.focus();
}

export function closePanel() {
  panel.close();
}

panel.addEventListener("close", () => came?.isConnected && came.focus());

const views = {
  async drill({ query }) {
    const [path, search] = query.split("?");
    let cases = await api("GET", `/operations/${path}?${path === "cases" ? "" : search}`);
    if (path === "cases") {
      const wanted = new URLSearchParams(search);
      cases = cases.filter((shown) => shown.status === wanted.get("status") && String(shown.acuity ?? "") === wanted.get("acuity"));
    }
    return table(
      t("operations.behind"),
      ["case", "level", "state", "unit", "round", "figure"],
      cases.map((shown) =>
        el(
          "tr",
          { "data-key": shown.id },
          th(timelineButton(shown.id)),
          td(level(shown.acuity)),
          td(word("case.status", shown.status)),
          td(shown.call_sign),
          td(shown.round),
          td(short(shown.seconds ?? shown.waits_s)),
        ),
      ),
      t("operations.nothing_found"),
    );
  },

  async timeline({ case: id }) {
    const found = await api("GET", `/operations/cases/${id}/timeline`);
    return [
      el("p", { class: "quiet" }, found.id),
      el("p", {}, [word("case.status", found.status), level(found.acuity), found.call_sign].join(" · ")),
      config.role === "control_room" ? el("a", { class: "button", href: `/control#case-${found.id}` }, t("operations.open_case")) : null,
      el(
        "div",
        { class: "timeline upright", tabindex: 0, role: "region", "aria-label": t("operations.timeline") },
        el("ol", {}, found.entries.map((entry) => entryRow(entry, found))),
      ),
      found.cut ? el("p", { class: "note warn" }, t("operations.cut")) : null,
    ];
  },

  async pause({ queue }) {
    const form = el(
      "form",
      { class: "stack", "data-keep": true },
      el("p", {}, t(queue === "dispatch" ? "operations.pause_dispatch" : "operations.pause_reading")),
      el("label", {}, t("common.reason"), el("input", { name: "reason", required: true, minlength: 3, maxlength: 200, autocomplete: "off" })),
      el("label", {}, t("operations.pause_minutes"), el("input", { name: "minutes", type: "number", min: 1, max: 240, value: 10, required: true, inputmode: "numeric" })),
      el("button", { type: "submit", class: "danger big" }, t("operations.pause")),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const said = new FormData(form);
      press(form.querySelector("button"), async () => {
        await api("POST", `/operations/queues/${queue}/pause`, { reason: said.get("reason").trim(), minutes: Number(said.get("minutes")) });
        closePanel();
        notice(t("operations.paused_now"));
      });
    });
    return form;
  },
};

function entryRow(entry, found) {
  return el(
    "li",
    {},
    el("time", { datetime: entry.at }, time(entry.at)),
    el(
      "span",
      {},
      el("strong", {}, entry.what),
      " ",
      el("span", { class: "quiet" }, [word("operations.entry", entry.kind), entry.who ? person(found, entry.who) : null, factWords(entry.facts)].filter(Boolean).join(" · ")),
    ),
  );
}
