// What is known of a patient and how urgent it is, in words. Nothing here asks the server anything.

import { el, seen, t, time, word } from "./page.js";

/** Level 1 to 5 as number, colour and word. */
export function acuity(level) {
  if (!level) return el("span.level.level-none", t("case.acuity_none"));
  return el(
    "span",
    { class: `level level-${level}` },
    el("b", level),
    " ",
    t(`acuity.${level}`),
  );
}

export function acuityWords(level) {
  return level ? t("case.acuity", { level, name: t(`acuity.${level}`) }) : t("case.acuity_none");
}

/** How long the way to an ER takes, how that is known, and how old the position is that it is from. */
export function eta({ way }) {
  if (!way) return t("common.eta_unknown");
  const at = way.position_at;
  return [t(`common.eta_${way.source}`, { n: Math.round(way.eta_min) }), at && el("small.quiet", " ", el("span", { "data-seen": at }, seen(at)))];
}

/** "67 years, male: short of breath". */
export function patientLine(shown) {
  let age = t("case.age_unknown");
  if (shown.age_years !== null) age = t("case.age", { n: shown.age_years });
  else if (shown.age_band) age = t("case.age_band", { band: shown.age_band });
  const sex = shown.sex && shown.sex !== "unknown" ? word("sex", shown.sex) : t("sex.unknown");
  return el(
    "p.patient-line",
    el("strong", shown.pregnant ? `${age}, ${sex}, ${t("case.pregnant")}` : `${age}, ${sex}`),
    shown.complaint && el("span.complaint", shown.complaint),
  );
}

/** Name and identifier, for those whom the server gives them. */
export function identity(shown) {
  const rows = ["name", "identifier", "phone"].filter((name) => shown.patient?.[name]);
  if (!rows.length) return null;
  return el(
    "dl.facts",
    rows.map((name) => [el("dt", t(`case.patient_${name}`)), el("dd", shown.patient[name])]),
  );
}

/** The six vital signs with units, a dash for what was not measured; `points(name)` stands beside each. */
export function vitals(signs, points = () => null) {
  if (!signs) return el("p.quiet", t("vitals.none"));
  const pressure =
    signs.systolic_bp_mmhg === null
      ? null
      : `${signs.systolic_bp_mmhg}/${signs.diastolic_bp_mmhg ?? "–"}`;
  const earlier = new Set(signs.earlier ?? []);
  if (earlier.has("systolic_bp_mmhg") || earlier.has("diastolic_bp_mmhg")) earlier.add("blood_pressure");
  const oxygen = [
    signs.on_oxygen === null ? null : t(`vitals.on_oxygen.${signs.on_oxygen}`),
    signs.spo2_scale === 2 ? t("vitals.scale_2_shown") : null,
  ].filter(Boolean).join(", ");
  const awake = signs.consciousness && word("consciousness", signs.consciousness);
  const rows = [
    ["respiratory_rate_per_min", signs.respiratory_rate_per_min, t("unit.per_min")],
    ["spo2_percent", signs.spo2_percent, "%", oxygen],
    ["blood_pressure", pressure, "mmHg"],
    ["pulse_per_min", signs.pulse_per_min, t("unit.per_min")],
    ["consciousness", signs.consciousness, awake ?? ""],
    ["temperature_c", signs.temperature_c, "°C"],
  ];
  return el(
    "section.vitals-shown",
    el(
      "h4",
      t("vitals.title"),
      " ",
      el("small", t("vitals.recorded", { time: time(signs.recorded_at) })),
    ),
    el(
      "dl.vitals",
      rows.map(([name, value, unit, more]) =>
        el(
          "div",
          { class: `vital-${name}` },
          el("dt", t(`vitals.${name}`), points(name)),
          el(
            "dd",
            el("b", value ?? "–"),
            (value ?? null) !== null && el("small", ` ${unit}`),
            more && el("small.more", more, name === "spo2_percent" ? points("on_oxygen") : null),
            earlier.has(name) && el("small.more", t("vitals.earlier")),
          ),
        ),
      ),
    ),
  );
}

/** What an ER answered, in words. */
export function offerState(offer) {
  const reason = offer.reason_code ?? offer.ended_reason;
  const why = offer.reason_code
    ? word("decline", offer.reason_code)
    : reason && reason !== "no_answer" // its state says so already
      ? word("ended", reason)
      : null;
  const state = t(`offer.status.${offer.status}`, { n: offer.delay_min ?? "" });
  return why ? `${state}: ${why}` : state;
}
