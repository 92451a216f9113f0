// What the control room did by hand: whose alarm a case's alarm is by now, and the calls that were
// made for it. The server keeps both; every screen of the control room shows the same.

import { actions, api, el, notice, press, Problem, roomName, t, time } from "./page.js";

let entries = [];

/** Fetch the log of live cases, then call changed(). */
export async function loadLog(changed) {
  try {
    entries = await api("GET", "/control-room/log");
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    return; // live.js asks again
  }
  changed();
}

/** Who took this alarm of a case, or null while nobody has. */
export function takenBy(caseId, alarm) {
  return entries.findLast((entry) => entry.case_id === caseId && entry.alarm === alarm && entry.counts) ?? null;
}

/** Beside an alarm: who has it, or the button that takes it. */
export function taking(shown, alarm) {
  const taken = takenBy(shown.id, alarm);
  return taken
    ? el("span", { class: "quiet" }, t("control.taken", { who: taken.by_name, time: time(taken.at) }))
    : el("button", { type: "button", class: "primary", "data-do": "takeAlarm", "data-case": shown.id, "data-alarm": alarm, "data-key": `take-${shown.id}-${alarm}` }, t("control.take"));
}

/** A case's telephone log and the form for the next call. */
export function calls(shown, rooms) {
  const made = entries.filter((entry) => entry.case_id === shown.id && entry.did === "case.telephoned");
  const list = `callees-${shown.id}`;
  return el(
    "details",
    { class: "calls", "data-key": list },
    el("summary", {}, t("control.calls"), made.length ? ` (${made.length})` : ""),
    made.length
      ? el("ul", {}, made.map((call) => el("li", {}, el("time", { datetime: call.at }, time(call.at)), " ", el("b", {}, call.to), `: ${call.said} `, el("small", { class: "quiet" }, call.by_name))))
      : el("p", { class: "quiet" }, t("control.calls_none")),
    el(
      "form",
      { "data-call": shown.id, "data-keep": true, "data-key": `${list}-form`, class: "stack" },
      el("label", {}, t("control.call_to"), el("input", { name: "to", list, required: true, minlength: 2, maxlength: 120, autocomplete: "off" })),
      el("datalist", { id: list }, [shown.call_sign, ...rooms.map(roomName)].map((name) => el("option", { value: name }))),
      el("label", {}, t("control.call_said"), el("input", { name: "said", required: true, minlength: 2, maxlength: 500, autocomplete: "off" })),
      el("button", { type: "submit" }, t("control.call_write")),
    ),
  );
}

/** Wire button and form; changed() repaints. */
export function wireLog(changed) {
  actions.takeAlarm = (button) =>
    press(button, async () => {
      await api("POST", `/control-room/cases/${button.dataset.case}/alarms/${button.dataset.alarm}/take`);
      await loadLog(changed);
    });
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.dataset.call) return;
    event.preventDefault();
    const { to, said } = form.elements;
    press(form.querySelector("[type=submit]"), async () => {
      await api("POST", `/control-room/cases/${form.dataset.call}/calls`, { to: to.value.trim(), said: said.value.trim() });
      form.reset();
      await loadLog(changed);
      notice(t("control.call_written"));
    });
  });
}
