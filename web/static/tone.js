// Tones, the same for every page that rings. Browsers allow sound only after a press on the page.

let context = null;

/** May this page sound? */
export function sounds() {
  return context?.state === "running";
}

/** Let any press allow sound, also again after a call took it away; changed() hears of both. */
export function unlockSound(changed) {
  const unlock = () => {
    context ??= new AudioContext();
    context.onstatechange = changed;
    context.resume();
  };
  document.addEventListener("pointerdown", unlock);
  document.addEventListener("keydown", unlock);
}

/** Play tones: [seconds from now, hertz] each. */
export function play(tones) {
  if (!sounds()) return;
  const [start, length] = [context.currentTime, 0.35];
  for (const [delay, hertz] of tones) {
    const volume = context.createGain();
    volume.gain.setValueAtTime(0.25, start + delay);
    volume.gain.exponentialRampToValueAtTime(0.001, start + delay + length);
    const voice = context.createOscillator();
    voice.frequency.value = hertz;
    voice.connect(volume).connect(context.destination);
    voice.start(start + delay);
    voice.stop(start + delay + length);
  }
}
