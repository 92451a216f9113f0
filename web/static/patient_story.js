// One patient in words: who it is as far as known, what to do about it, everything that happened.

import { button, config, el, number, roomName, t, time, word } from "./page.js";
import { aiNotice } from "./findings.js";
import { acuity, offerState } from "./patient.js";

/** The temporary name in the page's language. */
export function called({ temporary_name: name }) {
  return name ? name[config.language] : t("patients.unnamed");
}

/** "man, about 60": what can be said of somebody whom nobody knows. */
export function described({ sex, estimated_age_years: age }) {
  const who = t(`patients.sex_${sex ?? "unknown"}`);
  return age === null || age === undefined ? who : t("patients.about", { who, n: Math.round(age) });
}

/** The open patient {patient, story}. */
export function detail({ patient, story }, { mayMerge }) {
  return el(
    "article",
    { class: "card", "data-key": patient.id },
    el("header", { class: "case-heading" }, el("h2", { id: "patient-title", tabindex: "-1" }, called(patient)), el("p", {}, described(patient))),
    identity(patient),
    onTheWay(story),
    el("p", { class: "buttons" }, button("print", t("patients.print"))),
    edit(patient),
    mayMerge ? joins(patient) : null,
    timeline(story),
  );
}

/** Who it is. */
function identity({ identity: state, patient: known }) {
  if (!known) return el("p", { class: state === "unreadable" ? "note bad" : "note" }, t(`patients.identity_${state}`));
  const rows = ["name", "birth_date", "identifier", "phone"].filter((name) => known[name]);
  return el("dl", { class: "facts" }, rows.map((name) => [el("dt", {}, t(`case.patient_${name}`)), el("dd", {}, known[name])]));
}

const FILM_PX = 160;
const LIVE = new Set(["received", "offering", "unplaced", "assigned", "acknowledged", "en_route", "arrived"]);

/** The guard: the same patient is under way, perhaps twice. */
function onTheWay(story) {
  const live = story.cases.filter((c) => LIVE.has(c.status));
  if (!live.length) return null;
  return el(
    "div",
    { class: live.length > 1 ? "note bad" : "note warn", "data-key": "under-way" },
    el("strong", {}, t(live.length > 1 ? "patients.twice" : "patients.under_way", { n: live.length })),
    el("ul", {}, live.map((c) => el("li", {}, `${t("case.unit", { call_sign: c.call_sign })} · ${t("case.number", { id: c.id.slice(0, 8) })} · ${t("case.status." + c.status)} · ${time(c.received_at)}`))),
  );
}

function edit(patient) {
  const known = patient.patient ?? {};
  const input = (name, more) => el("label", {}, t(`case.patient_${name}`), el("input", { name, autocomplete: "off", value: known[name] ?? "", ...more }));
  return el(
    "details",
    { "data-key": "edit" },
    el("summary", { class: "link" }, t("patients.edit")),
    el(
      "form",
      { class: "stack", "data-does": "edit", "data-version": patient.version, "data-keep": true, "data-key": `edit-${patient.version}` },
      el("p", { class: "quiet" }, t("patients.edit_hint")),
      el(
        "div",
        { class: "two" },
        input("name", { maxlength: 120 }),
        input("birth_date", { type: "date" }),
        input("identifier", { maxlength: 60 }),
        input("phone", { type: "tel", maxlength: 40 }),
        el("label", {}, t("crew.sex"), el("select", { name: "sex" }, ["unknown", "female", "male", "other"].map((sex) => el("option", { value: sex, selected: sex === (patient.sex ?? "unknown") }, t(`patients.sex_${sex}`))))),
        el("label", {}, t("patients.age"), el("input", { name: "estimated_age_years", type: "number", min: 0, max: 130, step: "any", value: patient.estimated_age_years ?? "" })),
      ),
      el("button", { type: "submit", class: "primary" }, t("patients.save")),
    ),
  );
}

function withReason(does, data, words, text) {
  return el(
    "form",
    { class: "row-form", "data-does": does, "data-keep": true, ...data },
    el("label", { class: "grow" }, t("common.reason"), el("input", { name: "reason", required: true, minlength: 3, maxlength: 200, autocomplete: "off", "aria-label": `${t("common.reason")}: ${words}` })),
    el("button", { type: "submit" }, text),
  );
}

/** Who may be the same, and who was said to be. */
function joins(patient) {
  return [
    patient.maybe_same.length
      ? el(
          "section",
          { class: "note warn", "data-key": "maybe" },
          el("h3", {}, t("patients.maybe_same")),
          patient.maybe_same.map((other) =>
            el(
              "div",
              { "data-key": other.id },
              el("p", {}, el("a", { href: `#${other.id}` }, called(other)), ` · ${described(other)} · ${t("patients.cases", { n: other.cases })}`),
              withReason("merge", { "data-absorb": other.id, "data-of": other.version, "data-key": `merge-${other.id}-${other.version}` }, called(other), t("patients.merge")),
            ),
          ),
        )
      : null,
    patient.merges.length
      ? el(
          "section",
          { "data-key": "merges" },
          el("h3", {}, t("patients.consists")),
          patient.merges.map((merge) => {
            const name = merge.absorbed_name ? merge.absorbed_name[config.language] : t("patients.unnamed");
            return el("div", { "data-key": merge.id }, el("p", {}, `${name} · ${time(merge.merged_at)}`), withReason("split", { "data-merge": merge.id, "data-key": `split-${merge.id}` }, name, t("patients.split")));
          }),
        )
      : null,
  ];
}

/** Everything that happened, newest case first, each from its beginning. */
function timeline(story, level = "h3", pictured = true) {
  return [
    story.cases.map((c) =>
      el(
        "section",
        { class: "timeline upright", "data-key": `case-${c.id}` },
        el(level, {}, acuity(c.acuity), ` ${t("case.number", { id: c.id.slice(0, 8) })} · ${t("case.unit", { call_sign: c.call_sign })} · ${t("case.status." + c.status)}`),
        c.complaint ? el("p", {}, c.complaint) : null,
        el("ol", {}, story.entries.filter((entry) => entry.case_id === c.id).map((entry) => line(entry, pictured))),
      ),
    ),
    story.more_cases ? el("p", { class: "quiet" }, t("patients.more_cases", { n: story.more_cases })) : null,
    story.entries.some(({ kind }) => kind === "reading" || kind === "film") ? aiNotice() : null,
  ];
}

function line(entry, pictured) {
  const picture = pictured && entry.kind === "film" ? film(entry) : null;
  return el("li", { class: `entry-${entry.kind}` }, el("time", { datetime: entry.at }, time(entry.at)), el("span", {}, WORDS[entry.kind]?.(entry.facts) ?? entry.kind, picture));
}

/** The film, small, and fetched when it is scrolled to; it leads to the whole film with its boxes.
 * A film that was replaced later is shown as it was: it is named by its hash. */
function film({ case_id: id, facts: { sha256, width_px: width, height_px: height } }) {
  const address = `/api/v1/cases/${id}/image`;
  const side = FILM_PX / Math.max(width, height);
  const size = { width: Math.round(width * side), height: Math.round(height * side) };
  return el(
    "figure",
    { class: "film-small", "data-key": `film-${sha256}` },
    el(
      "a",
      { href: `${address}?boxes=1&film=${sha256}`, target: "_blank", rel: "noopener" },
      el("img", { src: `${address}/thumbnail?film=${sha256}`, alt: `${t("film.alt", { id: id.slice(0, 8) })}. ${t("film.open")}`, loading: "lazy", ...size }),
    ),
    el(
      "figcaption",
      { class: "quiet" },
      el("span", { lang: "en" }, t("ai.not_for_diagnosis.en")),
      " ",
      el("span", { lang: "ko" }, t("ai.not_for_diagnosis.ko")),
    ),
  );
}

/** A set of vital signs in one line, each with its unit. */
function signs({ systolic_bp_mmhg: high, diastolic_bp_mmhg: low, ...values }) {
  const pressure = (high ?? low ?? null) === null ? null : `${high ?? "–"}/${low ?? "–"}`;
  const oxygen = (values.on_oxygen ?? null) === null ? "" : ` (${t("vitals.on_oxygen." + values.on_oxygen)})`;
  const awake = values.consciousness;
  return [
    ["respiratory_rate_per_min", values.respiratory_rate_per_min, ` ${t("unit.per_min")}`],
    ["spo2_percent", values.spo2_percent, ` %${oxygen}`],
    ["blood_pressure", pressure, " mmHg"],
    ["pulse_per_min", values.pulse_per_min, ` ${t("unit.per_min")}`],
    ["temperature_c", values.temperature_c, " °C"],
    ["consciousness", awake, awake ? ` (${word("consciousness", awake)})` : ""],
  ]
    .map(([name, value, unit]) => `${t("vitals." + name)} ${(value ?? null) === null ? t("vitals.not_measured") : value + unit}`)
    .join(", ");
}

const WORDS = {
  status: ({ status, reason }) => t("case.status." + status) + (reason ? ` (${word("ended", reason)})` : ""),
  acuity: ({ acuity: level, before }) => (before ? t("patients.entry_acuity", { level: level ?? "?", before }) : t("patients.entry_acuity_first", { level: level ?? "?" })),
  film: ({ unusable_reason: why }) => t("patients.entry_film") + (why ? `: ${word("unusable", why)}` : ""),
  reading: ({ reading, status, findings, model }) =>
    `${t("er.model_" + reading)} ${model.name ?? ""} ${model.version ?? ""}: ` +
    (status === "failed" ? t("film.reading_failed") : findings.map((f) => `${word("label", f.label)} ${number(f.score, 2)}${f.above_threshold ? " ↑" : ""}`).join(", ") || t("findings.none_above")),
  vitals: ({ values, news2 }) => signs(values) + (news2 && news2.total !== null ? ` · NEWS2 ${news2.total}` : ""),
  offer: ({ emergency_room: room, step, ...offer }) => `${roomName(room)}: ${step === "requested" ? t("offer.status.requested") : offerState(offer)}`,
  elsewhere: ({ hospital, taken, reason }) => t(taken ? "patients.entry_elsewhere" : "patients.entry_not_elsewhere", { hospital }) + (reason ? ` (${reason})` : ""),
  message: ({ sender, recipient, body }) => `${word("party", sender)} → ${word("party", recipient)}: ${body}`,
  instructions: ({ items, note }) => `${t("crew.instructions")} ${[...items.map((item) => t("instruction." + item)), note].filter(Boolean).join(", ")}`,
  outcome: ({ diagnosis, disposition }) => `${t("case.outcome")} ${diagnosis} · ${word("disposition", disposition)}`,
  duplicate: ({ resolution, same_said_at: same }) => t(`patients.entry_duplicate_${resolution ?? (same ? "same" : "open")}`),
};

/** One sheet of paper, with who printed it when. */
export function printed({ patient, story, printed_at: at, printed_by: who }) {
  return [
    el("h1", {}, `${called(patient)} · ${described(patient)}`),
    identity(patient),
    timeline({ ...story, cases: story.cases.slice(0, 1) }, "h2", false),
    el("p", {}, t("patients.printed", { who, time: time(at) })),
    el("p", {}, el("strong", {}, t("app.research"))),
  ];
}
