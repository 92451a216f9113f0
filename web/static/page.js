// What every page shares: words, the one way to build and repaint elements, requests, notices.
// Text from the server only ever becomes a text node; no HTML is parsed here.

import { ask, Refusal as Problem, refusal, serverNow, session } from "./ask.js";

export { Problem, refusal, serverNow, session };

/** The element of this id. */
export const place = (id) => document.getElementById(id);

export const config = JSON.parse(place("config").textContent);

/** A string of the page's language with {names} filled in; the key itself when it is missing. */
export function t(key, values = {}) {
  const text = config.text[key];
  if (text === undefined) return key;
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
}

/** The words for a code, or the code when a newer server knows more codes than this page. */
export function word(group, code) {
  return config.text[`${group}.${code}`] ?? String(code ?? "").replaceAll("_", " ");
}

const absent = (value) => (value ?? false) === false;

/** An element "tag.class.class": attributes (true: present; null, false, undefined: absent), which
 * may be left out, and children. */
export function el(tag, attributes, ...children) {
  const [name, ...classes] = tag.split(".");
  const node = document.createElement(name);
  if (attributes?.constructor !== Object) children.unshift(attributes);
  else {
    for (const [key, value] of Object.entries(attributes)) {
      if (absent(value)) continue;
      node.setAttribute(key, value === true ? "" : value);
    }
  }
  if (classes.length) node.classList.add(...classes);
  for (const child of children.flat(3)) {
    if (!absent(child)) node.append(child);
  }
  return node;
}

/** A button that does actions[name]; `data` goes into its data- attributes. */
export function button(name, text, data = {}, style = null) {
  const more = Object.entries(data).map(([key, value]) => [`data-${key}`, value]);
  return el("button", { type: "button", class: style, "data-do": name, ...Object.fromEntries(more) }, text);
}

/** Make `parent` show these nodes while keeping what did not change: focus, typing, open panels. */
export function paint(parent, ...nodes) {
  const wanted = nodes.flat(3).filter((n) => !absent(n));
  const list = wanted.map((n) => (n instanceof Node ? n : document.createTextNode(String(n))));
  const keep = new Set(list.map(keyOf).filter(Boolean));
  for (const node of [...parent.childNodes]) {
    const key = keyOf(node);
    if (key && !keep.has(key)) node.remove();
  }
  const keyed = new Map([...parent.childNodes].map((n) => [keyOf(n), n]).filter(([key]) => key));
  let at = parent.firstChild;
  for (const next of list) {
    const key = keyOf(next);
    const old = key ? keyed.get(key) : at;
    if (old && keyOf(old) === key && old.nodeName === next.nodeName) {
      if (old === at) at = at.nextSibling;
      else parent.insertBefore(old, at);
      update(old, next);
    } else {
      parent.insertBefore(next, at);
    }
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

function keyOf(node) {
  return node.nodeType === Node.ELEMENT_NODE ? node.getAttribute("data-key") : null;
}

function update(old, next) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== next.nodeValue) old.nodeValue = next.nodeValue;
    return;
  }
  if (old.hasAttribute("data-keep")) return; // somebody may be typing in there
  for (const { name } of [...old.attributes]) {
    if (name === "open" && old.nodeName === "DETAILS") continue;
    if (name === "aria-disabled") continue; // press() waits for an answer
    if (!next.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of [...next.attributes]) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  paint(old, ...next.childNodes);
}

/** What a click on [data-do=name] does: actions[name](element). */
export const actions = {};

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-do]");
  if (event.detail > 1) return; // a double tap must not press what the first one brought up
  if (button && !button.hasAttribute("aria-disabled")) actions[button.dataset.do]?.(button);
});

/** A problem for people, in the page's language; the server's own words where they say more. */
export function wordsOf({ code, detail, more = {} }) {
  const known = config.text[`problem.${code}`];
  const fields = fieldErrors(more.errors);
  if (fields) return `${known ?? detail} ${fields}`;
  if (code === "image_unreadable" && config.language === "en") return detail;
  return known ?? detail;
}

function fieldErrors(errors, path = "") {
  if (!errors) return "";
  if (typeof errors === "string") return path ? `${word("vitals", path)}: ${errors}` : errors;
  if (Array.isArray(errors)) return errors.map((e) => fieldErrors(e, path)).join(" ");
  return Object.entries(errors)
    .map(([name, value]) => fieldErrors(value, /^\d+$/.test(name) ? path : name))
    .join("; ");
}

/** One request to /api/v1; the parsed answer, or a Problem. */
export async function api(method, path, body, options) {
  try {
    return (await ask(method, path, body, options)).body;
  } catch (problem) {
    // A question without an answer leaves something old on the screen: live.js hears of it.
    const silence = problem.status === 0 || problem.status >= 500;
    if (silence && method === "GET") document.dispatchEvent(new CustomEvent("unanswered"));
    if (problem.status === 401) document.dispatchEvent(new CustomEvent("signedout"));
    throw problem;
  }
}

/** The outcome of a request, or undefined for a Problem: the next look asks again. */
export async function patiently(asked) {
  try {
    return await asked;
  } catch (problem) {
    refusal(problem);
  }
}

/** Run a change for a pressed control: busy until the answer, its problem as a notice. */
export async function press(button, change) {
  if (button.hasAttribute("aria-disabled")) return null;
  button.setAttribute("aria-disabled", "true");
  try {
    return await change();
  } catch (problem) {
    refusal(problem);
    notice(wordsOf(problem), "bad");
    return problem;
  } finally {
    button.removeAttribute("aria-disabled");
  }
}

/** A short message; a bad one stays until it is closed, and of one `about` only the last is shown. */
export function notice(text, kind = "good", about = null) {
  const box = place("notices");
  if (about) box.querySelector(`[data-about="${about}"]`)?.remove();
  const item = el("p", { class: `notice ${kind}`, "data-about": about }, text, " ");
  const close = el("button", { type: "button", class: "link" }, t("common.close"));
  close.addEventListener("click", () => item.remove());
  item.append(close);
  while (box.childNodes.length > 3) box.firstChild.remove();
  box.append(item);
  if (kind !== "bad") setTimeout(() => item.remove(), 8000);
}

const clock = new Intl.DateTimeFormat(config.locale, { timeStyle: "medium", hourCycle: "h23" });

/** hh:mm:ss of an ISO time or of ms; with its date when that is another day. */
export function time(at) {
  if (!at) return "";
  const then = new Date(at);
  const other = then.toDateString() !== new Date(serverNow()).toDateString();
  return (other ? then.toLocaleDateString(config.locale, { dateStyle: "medium" }) + " " : "") + clock.format(then);
}

const made = []; // by digits: making one takes longer than writing a page of numbers

/** A number as the page's language writes it. */
export function number(value, digits = 0) {
  const shape = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return (made[digits] ??= new Intl.NumberFormat(config.locale, shape)).format(value);
}

/** m:ss until an ISO time, "0:00" afterwards. */
export function left(until) {
  const seconds = Math.max(0, Math.ceil((Date.parse(until) - serverNow()) / 1000));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

/** A countdown that the ticker below keeps true. */
export function countdown(until) {
  const over = Date.parse(until) <= serverNow();
  return el("span", { class: over ? "countdown over" : "countdown", "data-until": until }, left(until));
}

/** How old an ambulance's position is; the ticker below keeps it true. */
export function seen(at) {
  const n = Math.floor((serverNow() - Date.parse(at)) / 60000);
  return t(n > 0 ? "common.position_age" : "common.position_fresh", { n });
}

setInterval(() => {
  for (const node of document.querySelectorAll("[data-seen]")) node.textContent = seen(node.dataset.seen);
  for (const node of document.querySelectorAll("[data-until]")) {
    node.textContent = left(node.dataset.until);
    node.classList.toggle("over", Date.parse(node.dataset.until) <= serverNow());
  }
}, 500);

/** An ER's or hospital's name in the page's language. */
export function roomName(room) {
  return (config.language === "ko" && room.name_ko) || room.name;
}

/** What a page asks before somebody signs out, and does afterwards. */
export const leaving = { may: () => true, then() {} };

place("sign-out")?.addEventListener("click", (event) => {
  if (!leaving.may()) return;
  press(event.currentTarget, async () => {
    await api("DELETE", "/session");
    await leaving.then();
    location.assign("/sign-in");
  });
});
