// What the networks found and why a case has its level, each with what its numbers mean.

import { config, el, number, t, word } from "./page.js";

/** The words that every view of AI output carries, in both languages. */
export function aiNotice() {
  return el(
    "p.ai-notice",
    el("span", { lang: "en" }, t("ai.notice.en")),
    " ",
    el("span", { lang: "ko" }, t("ai.notice.ko")),
  );
}

/** The three highest scores, each against its operating point, and the prediction set. They are
 * called probabilities only where a site's prevalence is set (score_kind). `explain` is meaning.js's
 * scores, where there is time to read it. */
export function findings(image, explain) {
  if (!image || image.unusable_reason) return null;
  const any = (...states) => image.readings.some((r) => states.includes(r.status));
  const chance = image.score_kind === "probability";
  const line = (finding) => findingLine(finding, chance);
  // Operating points differ by label: one that is passed may lie below the three highest scores.
  const top = new Set(image.top3.map((finding) => finding.label));
  const also = image.findings.filter((f) => f.above_threshold && !top.has(f.label));
  return el(
    "section.findings",
    el("h4", t(chance ? "findings.title_probability" : "findings.title")),
    image.nothing_above_threshold && el("p.note", t("findings.none_above")),
    el("ol", image.top3.map(line)),
    also.length > 0 && [el("p.quiet", t("findings.also")), el("ul", also.map(line))],
    explain?.(image, [...image.top3, ...also], chance),
    any("pending", "running") && el("p.quiet.busy", t("film.reading")),
    any("failed") && el("p.note.warn", t("film.reading_failed")),
    models(image),
    aiNotice(),
  );
}

/** Which networks said so; beside it stands that they are no diagnosis. */
export function models(image) {
  const known = image.readings.filter((reading) => reading.model);
  return known.length ? el("p.quiet.models", known.map((r) => `${t("er.model_" + r.kind)} ${r.model.name} ${r.model.version}`).join(" · ")) : null;
}

/** Did the server say? */
export function known(number) {
  return (number ?? null) !== null;
}

/** A share as the page's language writes it. */
export function percent(share) {
  return `${number(share * 100, share > 0 && share < 0.1 ? 1 : 0)}%`;
}

/** A score, or a probability where it is one. */
export function scoreText(score, chance) {
  return chance ? percent(score) : number(score, 2);
}

function findingLine(finding, chance) {
  const side = finding.above_threshold ? "above" : "below";
  return el(
    "li",
    { class: side },
    el("b", word("label", finding.label)),
    " ",
    el(
      "span.score",
      t(chance ? "findings.probability" : "findings.score", { score: scoreText(finding.score, chance) }),
    ),
    " ",
    el(
      "span.against",
      known(finding.threshold)
        ? t(`findings.${side}`, { threshold: scoreText(finding.threshold, chance) })
        : t(`findings.${side}_unknown`),
    ),
  );
}

/** Why this level, in words, and what the patient needs; `explain` is meaning.js's rules. */
export function triage(shown, explain) {
  const judged = shown.triage;
  if (!judged) return null;
  const scores = ["news2", "qsofa", "crb65"]
    .filter((name) => judged[name])
    .map((name) => scoreLine(name, judged[name]))
    .filter(Boolean);
  return el(
    "section.triage",
    el(
      "h4",
      t("triage.title"),
      scores.length > 0 && el("small", ` ${scores.join(" · ")}`),
    ),
    el(
      "ul",
      judged.reasons.map((reason) =>
        el("li", reason.text[config.language] ?? reason.text.en ?? reason.code),
      ),
    ),
    explain ? explain(shown.id, judged) : judged.news2 ? el("small.quiet", judged.credit) : null,
    shown.partial && el("p.note.warn", t("case.partial")),
    shown.needs_review && el("p.note.warn", t("case.needs_review")),
  );
}

/** "NEWS2 7", or its possible range while a parameter is missing. */
function scoreLine(name, score) {
  if (score.total !== null) return t(`triage.${name}`, score);
  if (name === "news2") return t("triage.news2_range", score);
  const { known_total: known, upper_total: upper } = score;
  return known || upper ? t(`triage.${name}`, { total: `${known}–${upper}` }) : null;
}
