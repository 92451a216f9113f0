// Earlier cases of this ambulance, newest first, with what the ERs say became of the patients.

import { actions, api, el, paint, patiently, press, roomName, session, t, time } from "./page.js";
import { follow, heard, showConnection } from "./live.js";
import { acuity, patientLine } from "./patient.js";
import { clinical, toggleBoxes } from "./clinical.js";
import { offers, outcome, stateWords } from "./show.js";

const PAGE = 20;
const list = document.getElementById("history");
const more = document.getElementById("more");
const cases = new Map();

function show() {
  const newest = [...cases.values()].sort((a, b) => b.received_at.localeCompare(a.received_at));
  paint(list, newest.length ? newest.map(line) : el("p", { class: "quiet empty" }, t("history.none")));
}

function line(shown) {
  const taker = shown.offers.find((offer) => offer.status === "accepted") ?? shown.elsewhere;
  const minutes = Math.round((Date.parse(shown.ended_at) - Date.parse(shown.received_at)) / 60000);
  return el(
    "article",
    { class: "card", "data-key": shown.id },
    el(
      "header",
      { class: "case-heading" },
      acuity(shown.acuity),
      el("h2", {}, stateWords(shown), taker ? ` · ${roomName(taker.emergency_room)}` : null),
      el("p", { class: "quiet" }, `${t("case.number", { id: shown.id.slice(0, 8) })} · ${time(shown.received_at)}`, shown.status === "closed" ? ` · ${t("history.took", { n: minutes })}` : null),
    ),
    patientLine(shown),
    outcome(shown.outcome) ?? (shown.status === "closed" ? el("p", { class: "quiet" }, t("history.no_outcome")) : null),
    shown.ended_reason && shown.status === "cancelled" ? el("p", { class: "quiet" }, shown.ended_reason) : null,
    el("details", { "data-key": `${shown.id}-all` }, el("summary", { class: "link" }, t("history.details")), offers(shown.id, shown.offers), clinical(shown)),
  );
}

/** The page before `before`, or the newest. */
async function load(before) {
  const found = await api("GET", `/cases?live=false&limit=${PAGE}${before ? "&before=" + encodeURIComponent(before) : ""}`);
  heard();
  for (const shown of found) cases.set(shown.id, shown);
  if (before || cases.size <= PAGE) more.hidden = found.length < PAGE;
  show();
}

actions.more = (button) => press(button, () => load([...cases.values()].map((c) => c.received_at).sort()[0]));
actions.toggleBoxes = ({ dataset }) => {
  toggleBoxes(dataset.case);
  show();
};

async function main() {
  const found = await session();
  paint(document.getElementById("who"), found.display_name);
  await load();
  follow({
    onEvent: async ({ case_id: id }) => {
      const shown = id && (await patiently(api("GET", `/cases/${id}`)));
      if (shown) cases.set(id, shown);
      show();
    },
    reload: () => patiently(load()),
  });
}

showConnection(false);
await main();
