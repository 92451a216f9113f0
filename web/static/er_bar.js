// What an ER says of itself: beds, diversion, and for whom its screen rings.

import { actions, api, config, el, press, roomName, serverNow, t, time } from "./page.js";
import { muteWords, silent, wireSound } from "./sound.js";

let room = null;

export function keepRoom(found) {
  room = found ?? room;
}

/** Name, beds, diversion, sound. */
export function bar() {
  if (!room) return [];
  const until = room.diversion_until_at;
  const diverted = until && Date.parse(until) > serverNow();
  const beds = room.beds_available;
  return [
    el(
      "p",
      { class: diverted ? "diverted" : "" },
      el("strong", {}, roomName(room)),
      el("span", { class: diverted ? "" : "quiet" }, diverted ? t("er.diversion_until", { time: time(until) }) : t("er.diversion_none")),
    ),
    menu("beds", t(beds === null ? "er.beds_unknown" : "er.beds", { n: beds }), "", [
      el("p", { class: "quiet" }, room.beds_at ? t("er.beds_at", { time: time(room.beds_at) }) : t("er.beds_hint")),
      el("div", { class: "beds" }, bedStep(-1, "−", "er.beds_fewer"), el("b", {}, beds ?? "?"), bedStep(1, "+", "er.beds_more")),
    ]),
    diverted
      ? el("button", { type: "button", "data-do": "diversion", "data-key": "divert-off" }, t("er.diversion_off"))
      : menu("divert", t("er.diversion"), "", [
          el("p", { class: "quiet" }, t("er.diversion_hint")),
          [30, 60, 120, 240].map((n) =>
            el("button", { type: "button", class: "plain", "data-do": "diversion", "data-minutes": n }, t("common.minutes", { n })),
          ),
        ]),
    menu("sound", muteWords(), silent() ? "warn" : "", [
      el("p", { class: "quiet" }, t("er.mute_hint")),
      ["on", "quarter", "shift"].map((how) =>
        el("button", { type: "button", class: "plain", "data-do": "mute", "data-how": how }, t(`er.mute_${how}`)),
      ),
    ]),
    el("button", { type: "button", class: "plain keys-button", "data-do": "keys", "aria-label": t("er.keys") }, "?"),
  ];
}

function bedStep(by, sign, words) {
  return el("button", { type: "button", "data-do": "beds", "data-by": by, "aria-label": t(words) }, sign);
}

function menu(key, words, style, ...content) {
  return el(
    "details",
    { class: "menu", "data-key": `menu-${key}`, name: "er-menu" },
    el("summary", { class: `button plain ${style}` }, words),
    el("div", { class: "menu-body card" }, content),
  );
}

function closeMenus() {
  for (const open of document.querySelectorAll("details.menu[open]")) open.open = false;
}

/** Wire the bar; changed() repaints. */
export function wireBar(changed) {
  wireSound(changed);
  const { mute } = actions;
  actions.mute = (button) => {
    closeMenus();
    mute(button);
  };
  actions.diversion = (button) =>
    press(button, async () => {
      const { minutes } = button.dataset;
      const body = minutes ? { on: true, minutes: Number(minutes) } : { on: false };
      room = await api("POST", `/emergency-rooms/${config.emergency_room_id}/diversion`, body);
      closeMenus();
      changed();
    });
  actions.beds = (button) =>
    press(button, async () => {
      const available = (room.beds_available ?? 0) + Number(button.dataset.by);
      room = await api("POST", `/emergency-rooms/${config.emergency_room_id}/beds`, { available });
      changed();
    });
  document.addEventListener("click", (event) => {
    if (!event.target.closest?.("details.menu")) closeMenus();
  });
}
