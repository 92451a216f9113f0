// A device whose clock somebody sets (wallMs) and that sleeps (sleptMs: the even clock stood still),
// and what the countdown on its page shows meanwhile, twenty times a second beside the true time.
const even = performance.now.bind(performance);
const TrueDate = Date;
window.device = { wallMs: 0, sleptMs: 0, seen: [] };
performance.now = () => even() - window.device.sleptMs;
window.Date = class extends TrueDate {
  constructor(...given) {
    super(...(given.length ? given : [window.Date.now()]));
  }
  static now() {
    return TrueDate.now() + window.device.wallMs;
  }
};
setInterval(() => {
  const shown = document.querySelector("[data-until]")?.textContent.match(/^(\d+):(\d\d)$/);
  if (shown) window.device.seen.push([even(), Number(shown[1]) * 60 + Number(shown[2])]);
}, 50);
