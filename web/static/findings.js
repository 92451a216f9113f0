// What the networks found and why a case has its level, each with what its numbers mean.

import { config, el, number, t, word } from "./page.js";

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
