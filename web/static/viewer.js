// The whole film, full screen, in dwv: window and level, zoom, pan, invert. Loaded when asked for.

import { el, t } from "./page.js";
import { vendored } from "./vendored.js";

const TOOLS = [
  ["WindowLevel", "viewer.window"],
  ["ZoomAndPan", "viewer.pan"],
];

/** Open the DICOM film at `url` over the page; Escape or the button closes it. */
export async function openViewer({ url, name }) {
  const stage = el("div", { id: "dwv", class: "viewer-stage", tabindex: "0", role: "img", "aria-label": t("film.alt", { id: name }) });
  stage.append(el("div", { id: "layerGroup0", class: "layerGroup" }));
  const state = el("p", { class: "viewer-state", role: "status" }, t("viewer.loading"));
  const button = (does, words, more = {}) => el("button", { type: "button", class: "chip", "data-view": does, ...more }, words);
  const dialog = el(
    "dialog",
    { class: "viewer", "aria-label": `${t("film.full")}: ${name}` },
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
    ),
    stage,
    state,
    el("p", { class: "viewer-notice" }, t("ai.not_for_diagnosis")),
  );
  document.body.append(dialog);
  dialog.showModal();
  dialog.addEventListener("close", () => dialog.remove());

  const { App, AppOptions, ToolConfig, ViewConfig, logger } = await vendored("dwv", { styled: false });
  if (logger) logger.level = logger.levels.ERROR;
  const app = new App();
  const options = new AppOptions({ "*": [new ViewConfig("layerGroup0")] });
  options.tools = { WindowLevel: new ToolConfig(), ZoomAndPan: new ToolConfig() };
  options.viewOnFirstLoadItem = true;
  app.init(options);
  let inverted = false;
  const does = {
    tool(pressed) {
      app.setTool(pressed.dataset.tool);
      for (const node of dialog.querySelectorAll("[data-tool]")) node.setAttribute("aria-pressed", String(node === pressed));
    },
    in: () => zoom(0.25),
    out: () => zoom(-0.25),
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
  };
  const zoom = (by) => app.zoom(by, stage.clientWidth / 2, stage.clientHeight / 2);
  dialog.addEventListener("click", ({ target }) => {
    const pressed = target.closest("[data-view]");
    if (pressed) does[pressed.dataset.view](pressed);
  });
  dialog.addEventListener("keydown", (event) => {
    const step = { "+": 0.25, "-": -0.25 }[event.key];
    if (step) zoom(step);
    else if (event.key.toLowerCase() === "i") does.invert(dialog.querySelector('[data-view="invert"]'));
  });
  const watcher = new ResizeObserver(() => stage.clientWidth && app.fitToContainer());
  app.addEventListener("loadend", () => {
    app.setTool("WindowLevel");
    watcher.observe(stage);
    dialog.dataset.loaded = "true";
  });
  app.addEventListener("wlchange", ({ value }) => {
    state.textContent = t("viewer.shown", { center: Math.round(value[0]), width: Math.round(value[1]) });
  });
  dialog.addEventListener("close", () => {
    watcher.disconnect();
    app.reset();
  });
  try {
    const answer = await fetch(url);
    if (!answer.ok) throw new Error(String(answer.status));
    app.loadImageObject([{ name: "film.dcm", filename: "film.dcm", data: await answer.arrayBuffer() }]);
  } catch {
    state.textContent = t("film.failed");
  }
}
