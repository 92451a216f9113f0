// Tones, the same for every page that rings. Browsers allow sound only after a press on the page.

let context = null;

/** May this page sound? */
export function sounds() {
  return context?.state === "running";
}

/** Let the first press anywhere allow sound; changed() hears of it. */
export function unlockSound(changed) {
  const unlock = () => {
    context ??= new AudioContext();
    context.resume().then(changed);
  };
  document.addEventListener("pointerdown", unlock, { once: true });
  document.addEventListener("keydown", unlock, { once: true });
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
