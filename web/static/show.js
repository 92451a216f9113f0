// How a case looks, the same for crew, ER and control room. Nothing here asks the server anything.

import { config, el, number, roomName, t, time, word } from "./page.js";

/** Which films are shown with their boxes, by case id. */
const withBoxes = new Map();

/** Show or hide the boxes of a case's film. */
export function toggleBoxes(caseId) {
  withBoxes.set(caseId, !showsBoxes(caseId));
}

function showsBoxes(caseId) {
  return withBoxes.get(caseId) ?? true;
}

/** Level 1 to 5 as number, colour and word. */
export function acuity(level) {
  if (!level) return el("span", { class: "level level-none" }, t("case.acuity_none"));
  return el(
    "span",
    { class: `level level-${level}` },
    el("b", {}, level),
    " ",
    t(`acuity.${level}`),
  );
}

export function acuityWords(level) {
  return level ? t("case.acuity", { level, name: t(`acuity.${level}`) }) : t("case.acuity_none");
}

/** "67 years, male: short of breath". */
export function patientLine(shown) {
  let age = t("case.age_unknown");
  if (shown.age_years !== null) age = t("case.age", { n: shown.age_years });
  else if (shown.age_band) age = t("case.age_band", { band: shown.age_band });
  const sex = shown.sex && shown.sex !== "unknown" ? word("sex", shown.sex) : t("sex.unknown");
  return el(
    "p",
    { class: "patient-line" },
    el("strong", {}, shown.pregnant ? `${age}, ${sex}, ${t("case.pregnant")}` : `${age}, ${sex}`),
    shown.complaint ? el("span", { class: "complaint" }, shown.complaint) : null,
  );
}

/** Name and identifier, for those whom the server gives them. */
export function identity(shown) {
  const rows = ["name", "identifier", "phone"].filter((name) => shown.patient?.[name]);
  if (!rows.length) return null;
  return el(
    "dl",
    { class: "facts" },
    rows.map((name) => [el("dt", {}, t(`case.patient_${name}`)), el("dd", {}, shown.patient[name])]),
  );
}

/** The six vital signs with units; a dash for what was not measured. */
export function vitals(signs) {
  if (!signs) return el("p", { class: "quiet" }, t("vitals.none"));
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
    "section",
    { class: "vitals-shown" },
    el(
      "h4",
      {},
      t("vitals.title"),
      " ",
      el("small", {}, t("vitals.recorded", { time: time(signs.recorded_at) })),
    ),
    el(
      "dl",
      { class: "vitals" },
      rows.map(([name, value, unit, more]) =>
        el(
          "div",
          { class: `vital-${name}` },
          el("dt", {}, t(`vitals.${name}`)),
          el(
            "dd",
            {},
            el("b", {}, value ?? "–"),
            value === null || value === undefined ? null : el("small", {}, ` ${unit}`),
            more ? el("small", { class: "more" }, more) : null,
            earlier.has(name) ? el("small", { class: "more" }, t("vitals.earlier")) : null,
          ),
        ),
      ),
    ),
  );
}

/** The words that every view of AI output carries, in both languages. */
export function aiNotice() {
  return el(
    "p",
    { class: "ai-notice" },
    el("span", { lang: "en" }, t("ai.notice.en")),
    " ",
    el("span", { lang: "ko" }, t("ai.notice.ko")),
  );
}

/** The film, with its boxes unless switched off. */
export function film(shown) {
  const image = shown.image;
  if (!image) return el("p", { class: "quiet no-film" }, t("film.none"));
  const id = shown.id.slice(0, 8);
  const boxes = image.boxes.filter((box) => box.above_threshold).length;
  const drawn = boxes > 0 && showsBoxes(shown.id);
  // The film under an address may be replaced and its boxes may come later: v tells them apart.
  const plain = `${image.url}?v=${image.sha256.slice(0, 12)}-${boxes}`;
  const source = (width) => `${plain}&width_px=${width}${drawn ? "&boxes=1" : ""}`;
  const detected = image.readings.find((reading) => reading.kind === "detect");
  return el(
    "figure",
    { class: "film" },
    el(
      "a",
      { href: drawn ? `${plain}&boxes=1` : plain, target: "_blank", rel: "noopener", title: t("film.open") },
      el("img", {
        src: source(768),
        alt: t(drawn ? "film.alt_boxes" : "film.alt", { id }),
        width: image.width_px,
        height: image.height_px,
      }),
    ),
    el(
      "figcaption",
      {},
      boxes > 0
        ? el(
            "button",
            {
              type: "button",
              "data-do": "toggleBoxes",
              "data-case": shown.id,
              "aria-pressed": String(drawn),
            },
            drawn ? t("film.boxes_off") : t("film.boxes_on", { n: boxes }),
          )
        : detected?.status === "done"
          ? el("span", { class: "quiet" }, t("film.boxes_none"))
          : null,
      image.unusable_reason
        ? el(
            "p",
            { class: "note warn" },
            t("film.unusable", { reason: word("unusable", image.unusable_reason) }),
          )
        : null,
    ),
  );
}

/** The three highest scores, each against its operating point, and the prediction set. They are
 * called probabilities only where a site's prevalence is set (score_kind). */
export function findings(image) {
  if (!image || image.unusable_reason) return null;
  const waits = image.readings.some((r) => r.status === "pending" || r.status === "running");
  const failed = image.readings.some((r) => r.status === "failed");
  const chance = image.score_kind === "probability";
  const line = (finding) => findingLine(finding, chance);
  // Operating points differ by label: one that is passed may lie below the three highest scores.
  const top = new Set(image.top3.map((finding) => finding.label));
  const also = image.findings.filter((f) => f.above_threshold && !top.has(f.label));
  return el(
    "section",
    { class: "findings" },
    el("h4", {}, t(chance ? "findings.title_probability" : "findings.title")),
    image.nothing_above_threshold ? el("p", { class: "note" }, t("findings.none_above")) : null,
    el("ol", {}, image.top3.map(line)),
    also.length
      ? [el("p", { class: "quiet" }, t("findings.also")), el("ul", {}, also.map(line))]
      : null,
    scoreMeaning(image, [...image.top3, ...also], chance),
    waits ? el("p", { class: "quiet busy" }, t("film.reading")) : null,
    failed ? el("p", { class: "note warn" }, t("film.reading_failed")) : null,
    aiNotice(),
  );
}

/** What the scores mean, folded away: the rates behind each operating point, and the prediction set. */
function scoreMeaning(image, shown, chance) {
  const set = image.prediction_set;
  const rated = shown.filter((finding) => known(finding.threshold) && known(finding.sensitivity));
  if (!set && !rated.length) return null;
  const size = set && { coverage: percent(set.coverage), n: set.labels.length, all: image.findings.length };
  return el(
    "details",
    { class: "quiet score-meaning", "data-key": `${image.sha256}-scores` },
    el("summary", {}, size ? t("findings.set", size) : t("findings.points")),
    set
      ? el(
          "p",
          {},
          el("b", {}, set.labels.map((label) => word("label", label)).join(", ") || t("common.none")),
          ". ",
          t("findings.set_meaning", size),
        )
      : null,
    rated.length
      ? el(
          "ul",
          {},
          rated.map((finding) =>
            el(
              "li",
              {},
              t("findings.point", {
                label: word("label", finding.label),
                threshold: scoreText(finding.threshold, chance),
                sensitivity: percent(finding.sensitivity),
                specificity: percent(finding.specificity),
              }),
            ),
          ),
        )
      : null,
  );
}

function known(number) {
  return number !== null && number !== undefined;
}

function percent(share) {
  const digits = share > 0 && share < 0.1 ? 1 : 0;
  return share.toLocaleString(config.locale, {
    style: "percent",
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

function scoreText(score, chance) {
  return chance ? percent(score) : number(score, 2);
}

function findingLine(finding, chance) {
  const side = finding.above_threshold ? "above" : "below";
  return el(
    "li",
    { class: side },
    el("b", {}, word("label", finding.label)),
    " ",
    el(
      "span",
      { class: "score" },
      t(chance ? "findings.probability" : "findings.score", { score: scoreText(finding.score, chance) }),
    ),
    " ",
    el(
      "span",
      { class: "against" },
      known(finding.threshold)
        ? t(`findings.${side}`, { threshold: scoreText(finding.threshold, chance) })
        : t(`findings.${side}_unknown`),
    ),
  );
}

/** Why this level, in words, and what the patient needs. */
export function triage(shown) {
  const judged = shown.triage;
  if (!judged) return null;
  const scores = ["news2", "qsofa", "crb65"]
    .filter((name) => judged[name])
    .map((name) => scoreLine(name, judged[name]))
    .filter(Boolean);
  return el(
    "section",
    { class: "triage" },
    el(
      "h4",
      {},
      t("triage.title"),
      scores.length ? el("small", {}, ` ${scores.join(" · ")}`) : null,
    ),
    el(
      "ul",
      {},
      judged.reasons.map((reason) =>
        el("li", {}, reason.text[config.language] ?? reason.text.en ?? reason.code),
      ),
    ),
    judged.needs.length
      ? el(
          "p",
          { class: "needs" },
          el("span", { class: "quiet" }, `${t("triage.needs")}: `),
          judged.needs.map((need) => word("capability", need)).join(", "),
        )
      : null,
    judged.wishes?.length
      ? el(
          "p",
          { class: "needs" },
          el("span", { class: "quiet" }, `${t("triage.wishes")}: `),
          judged.wishes.map((wish) => word("capability", wish)).join(", "),
        )
      : null,
    ruleSources(shown.id, judged),
    shown.partial ? el("p", { class: "note warn" }, t("case.partial")) : null,
    shown.needs_review ? el("p", { class: "note warn" }, t("case.needs_review")) : null,
  );
}

/** "NEWS2 7", or its possible range while a parameter is missing. */
function scoreLine(name, score) {
  if (score.total !== null) return t(`triage.${name}`, score);
  if (name === "news2") return t("triage.news2_range", score);
  const { known_total: known, upper_total: upper } = score;
  return known || upper ? t(`triage.${name}`, { total: `${known}–${upper}` }) : null;
}

/** Where the rules come from, who signed them off, and the credit that the NEWS2 chart asks for. */
function ruleSources(caseId, judged) {
  const rules = judged.rules;
  if (!rules && !judged.news2) return null;
  const rows = [...(judged.reasons ?? []), ...(judged.need_reasons ?? [])].filter((row) => row.source);
  return el(
    "details",
    { class: "quiet rule-sources", "data-key": `${caseId}-rules` },
    el("summary", {}, t("triage.why")),
    rules
      ? el("p", {}, t(rules.reviewed_by ? "triage.rules_reviewed" : "triage.rules_not_reviewed", rules))
      : null,
    rows.length
      ? el(
          "ul",
          {},
          rows.map((row) =>
            el(
              "li",
              {},
              row.capability ? `${word("capability", row.capability)}: ` : null,
              row.text[config.language] ?? row.text.en,
              " — ",
              row.source,
            ),
          ),
        )
      : null,
    judged.news2 ? el("p", {}, judged.credit) : null,
  );
}

/** Film and AI on one side, vitals and triage on the other. */
export function clinical(shown) {
  return el(
    "div",
    { class: "clinical" },
    el("div", { class: "clinical-film" }, film(shown)),
    el(
      "div",
      { class: "clinical-facts" },
      patientLine(shown),
      identity(shown),
      vitals(shown.vitals),
      findings(shown.image),
      triage(shown),
    ),
  );
}

export function eta(offer) {
  return offer.eta_min === null
    ? t("common.eta_unknown")
    : t("common.eta", { n: Math.round(offer.eta_min) });
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

const ENDED_OFFERS = new Set(["rejected", "withdrawn", "expired"]);

/** Every hospital that was asked: what counts now, and folded away the earlier ones that ended. */
export function offers(caseId, list) {
  if (!list.length) return el("p", { class: "quiet" }, t("offers.none"));
  const sorted = [...list].sort((a, b) => b.round - a.round || a.rank - b.rank);
  const newest = sorted[0].round;
  const now = sorted.filter((o) => o.round === newest || !ENDED_OFFERS.has(o.status));
  const before = sorted.filter((o) => !now.includes(o));
  return el(
    "section",
    { class: "offers" },
    el("h4", {}, t("offers.title")),
    el("ol", {}, now.map(offerLine)),
    before.length
      ? el(
          "details",
          { "data-key": `${caseId}-before` },
          el("summary", { class: "quiet" }, t("offers.before", { n: before.length })),
          el("ol", {}, before.map(offerLine)),
        )
      : null,
  );
}

function offerLine(offer) {
  return el(
    "li",
    { class: `offer offer-${offer.status}`, "data-key": offer.id },
    el("span", { class: "offer-room" }, roomName(offer.emergency_room)),
    el("span", { class: "offer-eta" }, eta(offer)),
    el("span", { class: "offer-state" }, offerState(offer)),
    offer.assigned_reason
      ? el("small", { class: "quiet" }, t("offer.assigned", { reason: offer.assigned_reason }))
      : null,
  );
}

/** The heading of a case: number, state, level. */
export function heading(shown, ...more) {
  return el(
    "header",
    { class: "case-heading" },
    acuity(shown.acuity),
    el("h3", {}, t(`case.status.${shown.status}`)),
    el(
      "p",
      { class: "quiet" },
      [
        t("case.unit", { call_sign: shown.call_sign }),
        t("case.number", { id: shown.id.slice(0, 8) }),
        t("case.received_at", { time: time(shown.received_at) }),
      ].join(" · "),
    ),
    more,
  );
}
