// A case's film, findings, vital signs and urgency side by side, where there is room for them.
// Nothing here asks the server anything.

import { el, t, word } from "./page.js";
import { findings, triage } from "./findings.js";
import { identity, patientLine, vitals } from "./patient.js";

/** Which films are shown with their boxes, by case id. */
const withBoxes = new Map();

/** Show or hide the boxes of a case's film. */
export function toggleBoxes(caseId) {
  withBoxes.set(caseId, !showsBoxes(caseId));
}

function showsBoxes(caseId) {
  return withBoxes.get(caseId) ?? true;
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
        height: image.height_px + (drawn ? image.width_px / 10 : 0), // its foot says what it is not for
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

/** Film and AI on one side, vitals and triage on the other; `meaning` is meaning.js, if wanted. */
export function clinical(shown, meaning = {}) {
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
      findings(shown.image, meaning.scores),
      triage(shown, meaning.rules),
    ),
  );
}
