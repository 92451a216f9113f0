// Stands between a page and its event stream, as a bad network does: a test freezes what comes,
// turns its order round, or brings old events again. Nothing is invented; all of it once came.
window.line = {
  frozen: false,
  shuffled: false,
  held: [],
  past: [],

  /** Hand over what was held back, the last first, and a few old ones again. */
  release() {
    const again = this.past.slice(-8, -3);
    for (const [listener, event] of [...this.held.reverse(), ...again]) listener(event);
    this.held = [];
  },
};
setInterval(() => !window.line.frozen && window.line.release(), 1500);

window.EventSource = class extends EventSource {
  addEventListener(type, listener) {
    super.addEventListener(type, (event) => {
      if (window.line.frozen) return;
      if (type === "heartbeat") return listener(event);
      window.line.past.push([listener, event]);
      if (window.line.shuffled) window.line.held.push([listener, event]);
      else listener(event);
    });
  }
};

// What this screen claims, four times a second: the cases it calls its own.
window.claims = [];
setInterval(() => {
  const known = !document.body.classList.contains("state-unknown");
  const mine = document.querySelectorAll("#held .row-button[data-id]");
  window.claims.push([Date.now(), known ? [...mine].map((row) => row.dataset.id) : []]);
}, 250);
