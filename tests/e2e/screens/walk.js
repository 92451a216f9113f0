// Notes where the keyboard's focus has been; rig.keyboard_walk presses Tab between the steps.
window.walk = {
  seen: [],

  /** Where the focus is now: null outside the page, `again` when it has been there before. */
  step() {
    const node = document.activeElement;
    if (!node || node === document.body) return null;
    // A date has several stops of its own: only what comes back later is there again.
    const known = this.seen.includes(node);
    const again = known && this.last !== node;
    this.last = node;
    if (!known) this.seen.push(node);
    // Radios and file inputs lie invisible under the words that are pressed.
    const hidden = node.matches(".choice input, label.button input");
    const shown = hidden ? (node.nextElementSibling ?? node.parentElement) : node;
    const outlined = getComputedStyle(shown).outlineStyle !== "none";
    return { again, outlined, html: node.outerHTML.slice(0, 120) };
  },

  /** What can be operated and was never reached; of a group of radios one is enough. What lies
   *  behind a dialog cannot be. */
  missed() {
    const within = document.querySelector("dialog:modal") ?? document;
    const group = (node) => node.type === "radio" && [...document.getElementsByName(node.name)];
    return [
      ...within.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']"),
    ]
      .filter((node) => node.tabIndex >= 0 && !node.disabled && node.checkVisibility({ visibilityProperty: true }))
      .filter((node) => !this.seen.includes(node) && !(group(node) || []).some((n) => this.seen.includes(n)))
      .map((node) => node.outerHTML.slice(0, 120));
  },
};
