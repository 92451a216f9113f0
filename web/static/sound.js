// A short tone while somebody waits unseen, and how long it is muted. While the browser allows no
// sound, the words say that it is off.

import { actions, config, serverNow, t } from "./page.js";
import { play, sounds, unlockSound } from "./tone.js";

const EVERY_MS = 5000;
const ALWAYS = 2; // levels 1 and 2 are rung through a mute
const SHIFTS = [7, 15, 23]; // when a shift ends, by the ER's own clock
const KEY = "goldentime.muted_until";

let timer = null;
let levels = [];

const mutedUntil = () => Number(localStorage.getItem(KEY) ?? 0);
/** Whether somebody muted this screen. */
export const muted = () => serverNow() < mutedUntil();
/** Whether a new request makes no sound on this screen: muted, or not yet allowed to. */
export const silent = () => muted() || !sounds();

function tone() {
  const urgent = levels.some((level) => level <= ALWAYS);
  if (muted() && !urgent) return;
  play(urgent ? [[0, 988], [0.3, 988], [0.6, 740]] : [[0, 880], [0.4, 660]]);
}

/** Ring now and every few seconds for those that nobody has looked at, by their levels. */
export function ring(unseen) {
  levels = unseen;
  if (levels.length && timer === null) {
    tone();
    timer = setInterval(tone, EVERY_MS);
  } else if (!levels.length && timer !== null) {
    clearInterval(timer);
    timer = null;
  }
}

/** Whether this screen rings, in words. */
export function muteWords() {
  if (!sounds()) return t("er.sound_blocked");
  if (!muted()) return t("er.sound_rings");
  const clock = new Intl.DateTimeFormat(config.locale, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  return t("er.sound_muted", { time: clock.format(mutedUntil()) });
}

function shiftEnds() {
  const end = new Date(serverNow());
  const hour = SHIFTS.find((h) => h > end.getHours());
  end.setHours(hour ?? SHIFTS[0] + 24, 0, 0, 0);
  return end.getTime();
}

/** Wire the choices; changed() repaints. The first press anywhere lets this page sound. */
export function wireSound(changed) {
  actions.mute = (button) => {
    const until = { on: 0, quarter: serverNow() + 15 * 60000, shift: shiftEnds() }[button.dataset.how];
    localStorage.setItem(KEY, String(until));
    if (!until) setTimeout(tone, 50);
    changed();
  };
  unlockSound(changed);
}
