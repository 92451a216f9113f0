// The form of a new case: fields to the shape of POST /cases; what is left open is left out.

import { actions, el, paint, t } from "./page.js";

const box = document.getElementById("new-case");
const form = document.getElementById("case-form");
const chosen = document.getElementById("film-chosen");
const positionState = document.getElementById("position-state");

const WHOLE = [
  "respiratory_rate_per_min",
  "spo2_percent",
  "systolic_bp_mmhg",
  "diastolic_bp_mmhg",
  "pulse_per_min",
];

let film = null;
let preview = null;
let position = null;
let key = null; // that of a refused case which is being corrected

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
    ...Object.fromEntries(WHOLE.map((name) => [name, number(fields, name)])),
    temperature_c: number(fields, "temperature_c"),
    consciousness: fields.get("consciousness") ?? undefined,
    on_oxygen: fields.has("on_oxygen") ? fields.get("on_oxygen") === "true" : undefined,
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
      patient: withoutGaps({
        name: fields.get("patient_name").trim(),
        identifier: fields.get("patient_identifier").trim(),
        phone: fields.get("patient_phone").trim(),
      }),
    }) ?? {}
  );
}

function useFilm(file) {
  film = file;
  if (preview) URL.revokeObjectURL(preview);
  preview = film?.type.startsWith("image/") ? URL.createObjectURL(film) : null;
  paint(
    chosen,
    film
      ? [
          preview ? el("img", { src: preview, alt: "", class: "preview" }) : null,
          el(
            "span",
            {},
            t("crew.film_chosen", { name: film.name, kb: Math.ceil(film.size / 1024) }),
          ),
          el("button", { type: "button", class: "link", "data-do": "removeFilm" }, t("common.remove")),
        ]
      : [],
  );
}

function usePosition(coordinates) {
  position = coordinates;
  paint(
    positionState,
    position
      ? t("crew.position_known", {
          latitude: position.latitude.toFixed(4),
          longitude: position.longitude.toFixed(4),
          metres: Math.round(position.accuracy ?? 0),
        })
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
export function clearForm() {
  form.reset();
  useFilm(null);
  key = null;
  box.open = false;
}

/** Fill the form again with a refused case. */
export function editForm(entry) {
  form.reset();
  for (const [name, value] of entry.values) {
    const field = form.elements[name];
    if (field) field.value = value;
  }
  useFilm(entry.film);
  key = entry.key;
  box.open = true;
  box.scrollIntoView({ block: "start" });
}

/** Call submit(content, film, values, key) when the crew sends. */
export function wireForm(submit) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!form.reportValidity()) return;
    const values = [...new FormData(form)].filter(([, value]) => typeof value === "string");
    submit(caseOf(), film, values, key);
  });
  for (const id of ["film-file", "film-camera"]) {
    document.getElementById(id).addEventListener("change", (event) => {
      if (event.target.files[0]) useFilm(event.target.files[0]);
      event.target.value = "";
    });
  }
  actions.removeFilm = () => useFilm(null);
  document.getElementById("position-use").addEventListener("click", askPosition);
  navigator.permissions
    ?.query({ name: "geolocation" })
    .then((permission) => permission.state === "granted" && askPosition())
    .catch(() => {});
}
