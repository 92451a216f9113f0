// The whole film, full screen, in dwv: window and level, zoom, pan, invert, and over it what the
// networks marked (viewer_marks.js says why not in dwv's own layers). Loaded when asked for.
// It covers the page, so what must never be covered comes along: that the contact is lost, what the
// page announces, and how the offer stands. A film that is not this offer's any more is not shown.

import { el, notice, paint, place, t } from "./page.js";
import { marksOf, overlays, versionOf } from "./er_film.js";
import { models } from "./findings.js";
import { vendored } from "./vendored.js";
import { markLayer } from "./viewer_marks.js";

const TOOLS = [
  ["WindowLevel", "viewer.window"],
  ["ZoomAndPan", "viewer.pan"],
];
const CLOSER = 0.25;
const FARTHER = 1 / (1 + CLOSER) - 1; // one step back is where one was

let open = null; // the viewer that covers the page: repaint(offer)

/** What the page knows by now: the viewer shows it, too. */
export function refresh(offer) {
  open?.(offer);
}

/** Open an offer's film over the page; Escape or the button closes it. stateOf(offer) says in a node
 * how the offer stands, changed() repaints the page, keysOff() says whether letters do nothing. */
export async function openViewer(offer, { stateOf, changed, keysOff }) {
  if (open) return;
  const id = offer.id;
  const number = offer.case_id.slice(0, 8);
  const version = versionOf(offer.case.image);
  const marks = markLayer();
  let shown = offer.case;
  let bare = false; // all marks are off for a moment: none was switched off by itself

  const stage = el("div.viewer-stage", { id: "dwv", tabindex: "0", role: "img", "aria-label": t("film.alt", { id: number }) });
  const said = el("div.viewer-said");
  stage.append(el("div.layerGroup", { id: "layerGroup0" }), marks.svg, said);
  const state = el("p.viewer-state", { role: "status" }, t("viewer.loading"));
  const standing = el("p.viewer-offer");
  const switches = el("div.viewer-bar.viewer-switches", { role: "group", "aria-label": t("viewer.marks") });
  const button = (does, words, more = {}) => el("button", { type: "button", class: "chip", "data-view": does, ...more }, words);
  const dialog = el(
    "dialog",
    { class: "viewer", "aria-label": `${t("film.full")}: ${t("case.number", { id: number })}` },
    el(
      "div",
      { class: "viewer-bar", role: "toolbar", "aria-label": t("viewer.tools") },
      TOOLS.map(([tool, words]) => button("tool", t(words), { "data-tool": tool, "aria-pressed": String(tool === "WindowLevel") })),
      button("in", "+", { "aria-label": t("viewer.zoom_in") }),
      button("out", "−", { "aria-label": t("viewer.zoom_out") }),
      button("invert", t("viewer.invert"), { "aria-pressed": "false" }),
      button("reset", t("viewer.reset")),
      button("screen", t("viewer.full_screen")),
      button("close", t("common.close")),
      standing,
    ),
    switches,
    stage,
    state,
  );

  const key = (letter) => el("kbd", { "aria-hidden": "true" }, letter);

  function repaint() {
    const image = shown.image;
    const all = marksOf(image);
    const isOn = (mark) => !bare && overlays.shows(shown.id, mark.name);
    paint(
      switches,
      all.length ? button("all", [t("viewer.marks_all"), key("B")], { "aria-pressed": String(!bare), "data-key": "all" }) : null,
      all.map((mark, i) =>
        button("mark", [mark.sign, " ", mark.words, i < 9 ? key(i + 1) : null], { "aria-pressed": String(isOn(mark)), "data-mark": mark.name, "data-key": mark.name }),
      ),
      image.readings.some((r) => ["pending", "running"].includes(r.status)) ? el("span.busy", t("film.reading")) : null,
    );
    const on = all.filter(isOn);
    marks.show(on, image, version);
    paint(
      said,
      models(image),
      el("p", { lang: "en" }, t("ai.not_for_diagnosis.en")),
      el("p", { lang: "ko" }, t("ai.not_for_diagnosis.ko")),
      on.some((mark) => mark.heat) ? el("p", t("film.heat_meaning")) : null,
    );
  }

  const banner = place("banner") ?? place("lost"); // a page of the version before, opened days ago, has none
  const home = banner.nextSibling;
  dialog.prepend(banner);
  document.body.append(dialog);
  dialog.showModal();
  open = (now) => {
    if (now?.id !== id) return;
    paint(standing, stateOf(now));
    const newer = now.case?.image && versionOf(now.case.image) !== version;
    if (newer) notice(t("viewer.newer"), "bad");
    if (newer || !now.case?.image) return dialog.close();
    shown = now.case;
    repaint();
  };
  dialog.addEventListener("close", () => {
    open = null;
    document.body.insertBefore(banner, home);
    dialog.remove();
  });
  refresh(offer);

  const { App, AppOptions, Point2D, ToolConfig, ViewConfig, logger } = await vendored("dwv", { styled: false });
  if (!dialog.open) return; // closed before it had come
  if (logger) logger.level = logger.levels.ERROR;
  const app = new App();
  const options = new AppOptions({ "*": [new ViewConfig("layerGroup0")] });
  options.tools = { WindowLevel: new ToolConfig(), ZoomAndPan: new ToolConfig() };
  options.viewOnFirstLoadItem = true;
  app.init(options);
  let inverted = false;
  const group = () => app.getLayerGroupByDivId("layerGroup0");
  const does = {
    tool(pressed) {
      app.setTool(pressed.dataset.tool);
      for (const node of dialog.querySelectorAll("[data-tool]")) node.setAttribute("aria-pressed", String(node === pressed));
    },
    in: () => zoom(CLOSER),
    out: () => zoom(FARTHER),
    invert(pressed) {
      inverted = !inverted;
      app.setColourMap(inverted ? "invPlain" : "plain");
      pressed.setAttribute("aria-pressed", String(inverted));
    },
    reset() {
      app.resetZoomPan();
      app.resetViews();
      app.setColourMap(inverted ? "invPlain" : "plain");
    },
    screen: () => (document.fullscreenElement ? document.exitFullscreen() : dialog.requestFullscreen()),
    close: () => dialog.close(),
    mark({ dataset }) {
      // What is bare looks switched off: pressed, it is on.
      if (!bare || !overlays.shows(shown.id, dataset.mark)) overlays.toggle(shown.id, dataset.mark);
      bare = false;
      changed();
    },
    all() {
      bare = !bare;
      repaint();
    },
  };

  /** Nearer or farther, with the middle of the stage where it is. */
  function zoom(by) {
    const layer = group().getBaseViewLayer();
    const middle = layer.displayToMainPlanePos(new Point2D(stage.clientWidth / 2, stage.clientHeight / 2));
    group().addScale(by, layer.getViewController().getPlanePositionFromPlanePoint(middle));
    group().draw();
  }

  dialog.addEventListener("click", ({ target }) => {
    const pressed = target.closest("[data-view]");
    if (pressed) does[pressed.dataset.view](pressed);
  });
  dialog.addEventListener("keydown", (event) => {
    if (keysOff() || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const letter = event.key.toLowerCase();
    const view = { "+": "in", "-": "out", i: "invert", b: "all" }[letter];
    const pressed = view ? dialog.querySelector(`[data-view="${view}"]`) : /^[1-9]$/.test(letter) && dialog.querySelectorAll('[data-view="mark"]')[letter - 1];
    pressed?.click?.();
  });
  const watcher = new ResizeObserver(() => stage.clientWidth && app.fitToContainer());
  app.addEventListener("loadend", () => {
    app.setTool("WindowLevel");
    watcher.observe(stage);
    dialog.dataset.loaded = "true";
  });
  app.addEventListener("renderend", () => {
    const layer = group().getBaseViewLayer();
    const corner = layer.displayToPlanePos(new Point2D(0, 0));
    marks.follow({ size: layer.getBaseSize(), scale: layer.getScale(), offset: { x: corner.getX(), y: corner.getY() } });
  });
  app.addEventListener("wlchange", ({ value }) => {
    state.textContent = t("viewer.shown", { center: Math.round(value[0]), width: Math.round(value[1]) });
  });
  dialog.addEventListener("close", () => {
    watcher.disconnect();
    app.reset();
  });
  try {
    const answer = await fetch(`${shown.image.url}/dicom?v=${version}`);
    if (!answer.ok) throw new Error(String(answer.status));
    const data = await answer.arrayBuffer();
    if (dialog.open) app.loadImageObject([{ name: "film.dcm", filename: "film.dcm", data }]);
  } catch {
    state.textContent = t("film.failed");
  }
}
