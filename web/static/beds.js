// Free beds of every ER with the age of each figure; the control room and administrators set them.

import { api, config, el, notice, number, paint, press, roomName, session, t, word } from "./page.js";
import { feedLine } from "./shortage.js";
import { watch } from "./watch.js";

const EVERY_MS = 5000;

async function show() {
  const board = await api("GET", "/beds");
  paint(document.getElementById("feed"), feedLine(board.feed));
  paint(document.getElementById("rooms"), board.rooms.map(card));
}

function age(room) {
  if (room.age_s === null) return t("beds.never");
  if (room.future) return t("beds.future");
  const text = t("beds.age", { n: number(Math.max(0, Math.round(room.age_s / 60))) });
  return room.late ? `${text}: ${t("beds.late")}` : text;
}

function card(room) {
  const beds = room.beds_available;
  return el(
    "section",
    { class: room.late || room.future ? "card stale" : "card", "data-key": room.id },
    el("h2", {}, roomName(room)),
    el(
      "p",
      {},
      el("b", {}, beds === null ? "–" : beds < 0 ? t("beds.over", { n: -beds }) : t("beds.free", { n: beds })),
      ` · ${age(room)}`,
      room.beds_source ? ` · ${word("beds.source", room.beds_source)}` : null,
    ),
    el("p", { class: "quiet" }, room.offered_now.map((c) => word("capability", c)).join(", ") || t("common.none")),
    el(
      "form",
      { "data-beds": room.id, "data-key": `${room.id}-beds`, "data-keep": true, class: "row-form" },
      el(
        "label",
        { class: "grow" },
        t("beds.set"),
        el("input", { name: "available", type: "number", inputmode: "numeric", min: -200, max: 500, step: 1, required: true }),
      ),
      el("button", { type: "submit" }, t("beds.save")),
    ),
    config.role === "admin" ? capabilities(room) : null,
  );
}

function capabilities(room) {
  const has = new Set(room.capabilities);
  return el(
    "details",
    { "data-key": `${room.id}-capabilities` },
    el("summary", {}, t("beds.capabilities")),
    el(
      "form",
      { "data-capabilities": room.id, "data-keep": true, class: "stack" },
      config.capabilities.map((name) =>
        el("label", { class: "check" }, el("input", { type: "checkbox", name: "capability", value: name, checked: has.has(name) }), " ", word("capability", name)),
      ),
      el("button", { type: "submit" }, t("beds.save")),
    ),
  );
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  const { beds, capabilities: of } = form.dataset;
  if (!beds && !of) return;
  event.preventDefault();
  press(form.querySelector("button"), async () => {
    if (beds) {
      await api("POST", `/emergency-rooms/${beds}/beds`, { available: Number(form.elements.available.value) });
      form.reset();
    } else {
      const chosen = new FormData(form).getAll("capability");
      await api("PUT", `/emergency-rooms/${of}/capabilities`, { capabilities: chosen });
    }
    notice(t("beds.saved"));
    await show();
  });
});

session()
  .then((who) => paint(document.getElementById("who"), who.display_name))
  .catch(() => {});
watch(show, EVERY_MS);
