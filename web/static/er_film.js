// The film beside a case: a quick picture at once, with boxes and heatmaps that are switched one by
// one, and a button that opens the whole film in the viewer.

import { el, number, t, word } from "./page.js";

const SVG = "http://www.w3.org/2000/svg";

/** Which overlays are shown, by case id: boxes are on until switched off, heatmaps off. */
export const overlays = {
  changed: new Map(),
  toggle(caseId, name) {
    const key = `${caseId} ${name}`;
    this.changed.set(key, !this.shows(caseId, name));
  },
  shows(caseId, name) {
    return this.changed.get(`${caseId} ${name}`) ?? name.startsWith("box-");
  },
};

/** What tells this film from another under the same address: it may be replaced. */
export const versionOf = (image) => image.sha256.slice(0, 12);

/** What can be laid over a film, in order: boxes above their threshold, then heatmaps. */
export function marksOf(image) {
  const boxes = image.boxes.filter((box) => box.above_threshold);
  return [
    ...boxes.map((box, i) => ({ name: `box-${i}`, box, sign: "▢", words: `${word("label", box.label)} ${number(box.score, 2)}` })),
    ...image.heatmaps.map((label) => ({ name: `heat-${label}`, heat: label, sign: "◉", words: word("label", label) })),
  ];
}

/** The film with its switches, or that there is none. */
export function filmPanel(shown) {
  const image = shown.image;
  if (!image) return el("p", { class: "quiet no-film" }, t("film.none"));
  const version = versionOf(image);
  const marks = marksOf(image);
  const on = marks.filter(({ name }) => overlays.shows(shown.id, name));
  const drawn = on.flatMap(({ box }) => box ?? []);
  const heated = on.flatMap(({ heat }) => heat ?? []);
  const chip = ({ name, sign, words }) =>
    el(
      "button",
      { type: "button", class: "chip", "data-do": "overlay", "data-case": shown.id, "data-overlay": name, "aria-pressed": String(overlays.shows(shown.id, name)) },
      `${sign} ${words}`,
    );
  const detected = image.readings.find((reading) => reading.kind === "detect");
  return el(
    "figure",
    { class: "film" },
    el(
      "div",
      { class: "stage", "data-ratio": image.width_px / image.height_px, "data-key": `${shown.id}-${version}` },
      el("img", {
        src: `${image.url}/preview?v=${version}`,
        alt: t(drawn.length ? "film.alt_boxes" : "film.alt", { id: shown.id.slice(0, 8) }),
        fetchpriority: "high",
        "data-key": "film",
      }),
      heated.map((label) =>
        el("img", {
          class: "heat",
          "data-key": `heat-${label}`,
          src: `${image.url}/heatmap?v=${version}&label=${encodeURIComponent(label)}`,
          alt: t("film.heat_alt", { label: word("label", label) }),
        }),
      ),
      drawn.length ? boxLayer(image, drawn) : null,
    ),
    el(
      "figcaption",
      {},
      el("button", { type: "button", class: "primary", "data-do": "fullFilm" }, t("film.full")),
      marks.map(chip),
      heated.length ? el("p", { class: "quiet" }, t("film.heat_meaning")) : null,
      detected?.status === "done" && !marks.some(({ box }) => box) ? el("span", { class: "quiet" }, t("film.boxes_none")) : null,
      image.unusable_reason
        ? el("p", { class: "note warn" }, t("film.unusable", { reason: word("unusable", image.unusable_reason) }))
        : null,
    ),
  );
}

function boxLayer(image, boxes) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${image.width_px} ${image.height_px}`);
  svg.setAttribute("aria-hidden", "true"); // its words are the switches beside it
  svg.setAttribute("data-key", "boxes");
  for (const box of boxes) {
    const rect = document.createElementNS(SVG, "rect");
    const place = { x: box.x0, y: box.y0, width: box.x1 - box.x0, height: box.y1 - box.y0 };
    for (const [name, value] of Object.entries(place)) rect.setAttribute(name, value.toFixed(1));
    svg.append(rect);
  }
  return svg;
}

/** Give each film its own shape before it has come: nothing jumps when it does. */
export function sizeStages(root) {
  for (const stage of root.querySelectorAll(".stage")) stage.style.setProperty("--ratio", stage.dataset.ratio);
}
