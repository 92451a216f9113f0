// The form of a new case: fields to the shape of POST /cases; what is left open is left out.

import { ask, refusal } from "./ask.js";
import { draft, dropDraft, keepDraft, newKey, person } from "./outbox.js";
import { actions, button, config, el, paint, place, t, word, wordsOf } from "./page.js";
import { sayWhatIsMeasured } from "./stepper.js";
import { sha256, upload } from "./upload.js";
import * as vault from "./vault.js";

const box = place("new-case");
const form = place("case-form");
const chosen = place("film-chosen");
const positionState = place("position-state");

let film = null;
let facts = null; // of the film: {sha256, name, up: is it whole on the server}
let verdict = null; // {text, kind, share, bad}
let checking = null; // ends the check of a film that was taken back
let preview = null;
let position = null;
let key = newKey(); // the Idempotency-Key: made before the first tap on "send", kept with the draft
let saving = null;
let unsaved = false;

function number(fields, name) {
  const text = fields.get(name)?.trim();
  return text ? Number(text) : undefined;
}

function withoutGaps(object) {
  const rows = Object.entries(object).filter(([, value]) => value !== undefined && value !== "");
  return rows.length ? Object.fromEntries(rows) : undefined;
}

/** The vital signs of a form, undefined when none was entered. */
export function vitalsOf(from) {
  const fields = new FormData(from);
  const scale2 = fields.has("spo2_scale_confirmed");
  return withoutGaps({
    spo2_scale: scale2 ? 2 : undefined,
    spo2_scale_confirmed: scale2 || undefined,
    ...Object.fromEntries([...from.querySelectorAll("[data-start]")].map(({ name }) => [name, number(fields, name)])),
    consciousness: fields.get("consciousness") ?? undefined,
    on_oxygen: fields.get("on_oxygen") ? fields.get("on_oxygen") === "true" : undefined,
  });
}

function caseOf() {
  const fields = new FormData(form);
  return (
    withoutGaps({
      crew_pre_ktas: number(fields, "crew_pre_ktas"),
      age_years: number(fields, "age_years"),
      sex: fields.get("sex") ?? undefined,
      pregnant: fields.get("pregnant") ? fields.get("pregnant") === "true" : undefined,
      complaint: fields.get("complaint").trim(),
      position: position
        ? { latitude: position.latitude, longitude: position.longitude }
        : undefined,
      vitals: vitalsOf(form),
      patient: withoutGaps(Object.fromEntries(["name", "identifier", "phone"].map((name) => [name, fields.get(`patient_${name}`).trim()]))),
    }) ?? {}
  );
}

function useFilm(file, known = null) {
  checking?.abort();
  film = file;
  facts = known;
  verdict = null;
  if (preview) URL.revokeObjectURL(preview);
  preview = film?.type.startsWith("image/") ? URL.createObjectURL(film) : null;
  showFilm();
  if (film) checkFilm(film);
}

function showFilm() {
  paint(
    chosen,
    film
      ? [
          preview && el("img", { src: preview, alt: "", class: "preview" }),
          el("span", t("crew.film_chosen", { name: film.name ?? "", kb: Math.ceil(film.size / 1024) })),
          verdict?.share !== undefined &&
            el("progress", { max: 1, value: verdict.share, "aria-label": t("crew.film_uploading") }),
          verdict && el("p", { class: `note ${verdict.kind}`, role: "status" }, verdict.text),
          verdict?.bad
            ? el(
                "div.buttons",
                button("retakeFilm", t("crew.film_retake")),
                button("sendWithoutFilm", t("crew.film_without"), {}, "primary"),
              )
            : button("removeFilm", t("common.remove"), {}, "link"),
        ]
      : [],
  );
}

/** What is plainly wrong with a film, in words, or null: found out here, without a line. */
export async function wrongWith(file) {
  if (!file.size) return t("problem.film_empty");
  if (file.size > config.largest_film_bytes) return t("problem.too_large");
  const head = new Uint8Array(await file.slice(0, 132).arrayBuffer());
  if (String.fromCharCode(...head.slice(128)) === "DICM") return null;
  const bitmap = await createImageBitmap(file).catch(() => null);
  bitmap?.close();
  return bitmap ? null : t("problem.image_unreadable");
}

/** Is it a film at all? Cheaply here, and by the server's gate as soon as it can be reached. */
async function checkFilm(file) {
  const control = new AbortController();
  checking = control;
  const say = (next) => {
    if (film !== file) return;
    verdict = next;
    showFilm();
  };
  const bad = (text) => say({ text, kind: "bad", bad: true });
  const wrong = await wrongWith(file);
  if (wrong) return bad(wrong);
  const found = facts ?? (await factsOf(file));
  if (film !== file) return;
  facts = found;
  await vault.putFilm(key, person.account, file);
  save();
  try {
    await upload(file, facts.sha256, (share) => say({ text: t("crew.film_uploading"), kind: "", share }), control.signal);
    const { body } = await ask("POST", `/films/${facts.sha256}/check`, undefined, { timeoutMs: 30000, signal: control.signal });
    if (film !== file) return;
    facts.up = true;
    save();
    if (body.unusable_reason) {
      say({ text: t("film.unusable", { reason: word("unusable", body.unusable_reason) }), kind: "warn" });
    } else {
      say({ text: t("crew.film_good"), kind: "good" });
    }
  } catch (problem) {
    refusal(problem);
    if (control.signal.aborted) return;
    if (problem.code === "image_unreadable") bad(wordsOf(problem));
    else say({ text: t("crew.film_later"), kind: "warn" });
  }
}

/** How a film is named on its way: {sha256, name, up}. */
export async function factsOf(file) {
  return { sha256: await sha256(file), name: file.name, up: false };
}

/** Keep the form on the device; one write at a time, the last state wins. */
async function save() {
  unsaved = true;
  if (saving) return;
  saving = (async () => {
    while (unsaved) {
      unsaved = false;
      await keepDraft({ key, values: valuesOf(), film: film ? { ...facts, type: film.type } : null });
    }
  })();
  await saving;
  saving = null;
}

function valuesOf() {
  return [...new FormData(form)].filter(([, value]) => typeof value === "string");
}

function fill(values) {
  for (const [name, value] of values) {
    const field = form.elements[name];
    if (field?.type === "checkbox") field.checked = true;
    else if (field) field.value = value;
  }
  sayWhatIsMeasured(form);
}

/** What was typed before the page was closed, if anything. */
export async function restoreDraft() {
  const kept = await draft().catch(() => null);
  if (!kept) return false;
  key = kept.key;
  fill(kept.values);
  const blob = kept.film && (await vault.film(key));
  if (blob) useFilm(new File([blob], kept.film.name ?? "film", { type: blob.type }), kept.film);
  return true;
}

function usePosition(coordinates) {
  position = coordinates;
  paint(
    positionState,
    position
      ? t("crew.position_known", { metres: Math.round(position.accuracy ?? 0) })
      : t("crew.position_none"),
  );
}

function askPosition() {
  if (!navigator.geolocation) return paint(positionState, t("crew.position_failed"));
  paint(positionState, t("crew.position_asking"));
  navigator.geolocation.getCurrentPosition(
    ({ coords }) => usePosition(coords),
    () => {
      usePosition(null);
      paint(positionState, `${t("crew.position_failed")} ${t("crew.position_none")}`);
    },
    { enableHighAccuracy: true, timeout: 8000, maximumAge: 30000 },
  );
}

/** Empty the form and fold it; the position stays, for the ambulance is still there. */
export async function clearForm() {
  form.reset();
  checking?.abort();
  film = facts = verdict = null;
  showFilm();
  key = newKey();
  box.open = false;
  await saving;
  await dropDraft();
}

/** Fill the form again with a refused case {id, content, blob}. */
export function editForm(entry) {
  form.reset();
  fill(entry.content.values ?? []);
  // Another tab sent a case under this key: what is entered here is a case of its own.
  key = entry.refused?.code === "idempotency_key_reused" ? newKey() : entry.id;
  const name = entry.content.film?.name ?? "film";
  useFilm(entry.blob ? new File([entry.blob], name, { type: entry.blob.type }) : null);
  box.open = true;
  box.scrollIntoView({ block: "start" });
}

/** Call submit(key, content, film) when the crew sends; a second tap finds the form sent. */
export function wireForm(submit) {
  let busy = false;
  const send = async () => {
    if (busy || !form.reportValidity()) return;
    busy = true;
    try {
      const sent = film && (facts ?? (await factsOf(film)));
      await submit(key, { case: caseOf(), values: valuesOf(), film: sent }, film);
    } finally {
      busy = false;
    }
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  form.addEventListener("input", save);
  for (const id of ["film-file", "film-camera"]) {
    place(id).addEventListener("change", (event) => {
      if (event.target.files[0]) useFilm(event.target.files[0]);
      event.target.value = "";
    });
  }
  actions.removeFilm = () => {
    useFilm(null);
    vault.removeFilm(key).catch(() => {});
    save();
  };
  actions.retakeFilm = () => place("film-camera").click();
  actions.sendWithoutFilm = () => {
    actions.removeFilm();
    send();
  };
  place("position-use").addEventListener("click", askPosition);
  navigator.permissions
    ?.query({ name: "geolocation" })
    .then((permission) => permission.state === "granted" && askPosition())
    .catch(() => {});
}
