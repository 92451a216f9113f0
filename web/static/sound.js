// A short tone while somebody waits for an answer. Browsers allow sound only after a press.

import { actions, el, t } from "./page.js";

const EVERY_MS = 5000;
let context = null;
let on = false;
let timer = null;

function tone() {
  if (!on || context === null) return;
  const [start, length] = [context.currentTime, 0.35];
  for (const [delay, hertz] of [[0, 880], [0.4, 660]]) {
    const volume = context.createGain();
    volume.gain.setValueAtTime(0.2, start + delay);
    volume.gain.exponentialRampToValueAtTime(0.001, start + delay + length);
    const voice = context.createOscillator();
    voice.frequency.value = hertz;
    voice.connect(volume).connect(context.destination);
    voice.start(start + delay);
    voice.stop(start + delay + length);
  }
}

/** Ring now and every few seconds while `waiting`. */
export function ring(waiting) {
  if (waiting && timer === null) {
    tone();
    timer = setInterval(tone, EVERY_MS);
  } else if (!waiting && timer !== null) {
    clearInterval(timer);
    timer = null;
  }
}

export function soundButton() {
  return el(
    "button",
    { type: "button", "data-do": "sound", "aria-pressed": String(on) },
    t(on ? "er.sound_off" : "er.sound_on"),
  );
}

export function wireSound(changed) {
  actions.sound = () => {
    on = !on;
    context ??= new AudioContext();
    context.resume();
    tone();
    changed();
  };
}
