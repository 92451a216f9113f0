// What scores and rules rest on, folded away, for those who have time to read it: ER, control room.

import { config, el, t, word } from "./page.js";
import { known, percent, scoreText } from "./findings.js";

/** What the scores mean, folded away: the rates behind each operating point, and the prediction set. */
export function scores(image, shown, chance) {
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

/** What the patient needs of an ER, and the rules behind it. */
export function rules(caseId, judged) {
  const list = (words, needs) =>
    needs?.length ? el("p", { class: "needs" }, el("span", { class: "quiet" }, `${words}: `), needs.map((need) => word("capability", need)).join(", ")) : null;
  return [list(t("triage.needs"), judged.needs), list(t("triage.wishes"), judged.wishes), sources(caseId, judged)];
}

/** Where the rules come from, who signed them off, and the credit that the NEWS2 chart asks for. */
function sources(caseId, judged) {
  const by = judged.rules;
  if (!by && !judged.news2) return null;
  const rows = [...(judged.reasons ?? []), ...(judged.need_reasons ?? [])].filter((row) => row.source);
  return el(
    "details",
    { class: "quiet rule-sources", "data-key": `${caseId}-rules` },
    el("summary", {}, t("triage.why")),
    by
      ? el("p", {}, t(by.reviewed_by ? "triage.rules_reviewed" : "triage.rules_not_reviewed", by))
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
