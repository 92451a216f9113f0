// Loads what others wrote (vendor/) when a page first needs it, with its style sheet.

const loaded = new Map();

/** The module vendor/<name>.js; its style sheet comes along where it has one. */
export function vendored(name, { styled = true } = {}) {
  if (!loaded.has(name)) {
    loaded.set(name, Promise.all([import(`./vendor/${name}.js`), styled ? sheet(name) : null]).then(([module]) => module));
  }
  return loaded.get(name);
}

function sheet(name) {
  return new Promise((resolve, reject) => {
    const link = document.createElement("link");
    link.rel = "stylesheet";
    link.href = new URL(`./vendor/${name}.css`, import.meta.url);
    link.onload = resolve;
    link.onerror = reject;
    document.head.append(link);
  });
}
