// Patients over cases: list and exact search on one side, one patient on the other. A list says
// who nobody is; whoever is opened is written down by the server.

import { actions, api, button, config, el, notice, paint, patiently, press, session, t, time } from "./page.js";
import { acuity } from "./patient.js";
import { called, described, detail, printed } from "./patient_story.js";
import { watch } from "./watch.js";

const EVERY_MS = 5000;
const ID = /^#([0-9a-f-]{36})$/;
const list = document.getElementById("patients");
const one = document.getElementById("patient");
const search = document.getElementById("search");

let lines = [];
let next = null; // `before` of the page that follows
let wanted = null; // the words that are searched for, or null for the newest
let open = null; // {patient, story}

function show() {
  paint(
    list,
    wanted ? el("p", {}, t("patients.found", { n: lines.length }), " ", button("newest", t("patients.newest"), {}, "link")) : null,
    lines.length ? el("ul", { class: "patient-list" }, lines.map(row)) : el("p", { class: "quiet empty" }, t(wanted ? "patients.found_none" : "patients.none")),
    next ? button("more", t("history.more")) : null,
  );
  paint(one, open ? detail(open, { mayMerge: config.role !== "crew" }) : el("p", { class: "quiet empty", "data-key": "none" }, t("patients.choose")));
}

function row(line) {
  return el(
    "li",
    { "data-key": line.id },
    el(
      "a",
      { href: `#${line.id}`, class: "row-button", "aria-current": line.id === open?.patient.id ? "true" : null },
      acuity(line.latest_acuity),
      el("strong", {}, called(line)),
      el("span", {}, described(line)),
      el("small", { class: "quiet" }, [line.latest_status ? t(`case.status.${line.latest_status}`) : null, line.call_sign, line.latest_at ? time(line.latest_at) : null, t("patients.cases", { n: line.cases })].filter(Boolean).join(" · ")),
    ),
  );
}

async function load(before) {
  const live = search.elements.live.checked;
  const found = wanted
    ? await api("POST", "/patients/search", { ...wanted, live, ...(before ? { before } : {}) })
    : await api("GET", `/patients?live=${live}${before ? "&before=" + before : ""}`);
  lines = before ? [...lines, ...found.patients] : found.patients;
  next = found.next_before;
  show();
}

/** Open the patient that the address names; an absorbed one leads to the one that stands for it. */
async function openNamed() {
  const id = ID.exec(location.hash)?.[1];
  if (!id) open = null;
  else {
    const patient = await patiently(api("GET", `/patients/${id}`));
    const story = patient && (await patiently(api("GET", `/patients/${patient.id}/timeline`)));
    open = story ? { patient, story } : null;
    if (!open) notice(t("problem.not_found"), "bad");
  }
  show();
  if (open) document.getElementById("patient-title").focus();
}

/** A change to the open patient: afterwards the screen shows what is true, whatever happened. */
function change(pressed, method, path, body, done) {
  return press(pressed, async () => {
    try {
      await api(method, path, body);
      notice(t(done));
    } finally {
      await openNamed();
      await patiently(load());
    }
  });
}

search.addEventListener("submit", (event) => {
  event.preventDefault();
  const words = [...new FormData(search)].filter(([name, value]) => name !== "live" && value.trim());
  wanted = words.length ? Object.fromEntries(words) : null;
  press(search.querySelector("[type=submit]"), () => load());
});
search.elements.live.addEventListener("change", () => patiently(load()));

actions.more = (pressed) => press(pressed, () => load(next));
actions.newest = (pressed) => {
  wanted = null;
  search.reset();
  return press(pressed, () => load());
};
actions.print = (pressed) =>
  press(pressed, async () => {
    const sheet = await api("POST", `/patients/${open.patient.id}/print`);
    paint(document.getElementById("sheet"), printed(sheet));
    window.print();
  });

document.addEventListener("submit", (event) => {
  const form = event.target;
  const { id, version } = open?.patient ?? {};
  if (!id || !["edit", "merge", "split"].includes(form.dataset.does)) return;
  event.preventDefault();
  const sender = form.querySelector("[type=submit]");
  const fields = Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, value.trim() || null]));
  if (form.dataset.does === "edit") {
    fields.estimated_age_years &&= Number(fields.estimated_age_years);
    change(sender, "PATCH", `/patients/${id}`, { ...fields, version: Number(form.dataset.version) }, "patients.saved");
  } else if (form.dataset.does === "merge") {
    const { absorb, of } = form.dataset;
    change(sender, "POST", `/patients/${id}/merge`, { absorb, version, absorb_version: Number(of), reason: fields.reason }, "patients.merged");
  } else {
    change(sender, "POST", `/merges/${form.dataset.merge}/split`, { version, reason: fields.reason }, "patients.split_done");
  }
});

addEventListener("hashchange", openNamed);

const me = await patiently(session());
if (me) paint(document.getElementById("who"), me.display_name);
await patiently(load());
await openNamed();
// Only the newest are looked at again: a search is written down each time.
watch(() => (wanted || lines.length > 25 ? api("GET", "/session") : load()), EVERY_MS);
