// The audit, searched from the administrators' page; the search itself is on record.

import { api, config, el, notice, number, paint, patiently, press, Problem, t, wordsOf } from "./page.js";
import { short } from "./operations_parts.js";

const SEAL_MS = 5000;
const LATE_S = 60; // upkeep seals every few seconds

const stamp = new Intl.DateTimeFormat(config.locale, { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" });

/** Up to where the audit is sealed; asks again for as long as it is on the screen. */
async function showSeal(node) {
  const found = await patiently(api("GET", "/admin/audit/seal"));
  if (!node.isConnected) return;
  if (found) paint(node, sealWords(found));
  setTimeout(() => node.isConnected && showSeal(node), SEAL_MS);
}

function sealWords({ seal, unsealed_s: waits, key_known: known }) {
  const late = waits > LATE_S;
  const at = (time) => stamp.format(new Date(time));
  return [
    el("p", {}, seal ? t("admin.sealed_to", { number: number(seal.number), at: at(seal.entry_at), sealed: at(seal.sealed_at), key: seal.key_id }) : t("admin.sealed_none")),
    late || known === false
      ? el("p", { class: "note bad", role: "alert" }, late ? t("admin.seal_late", { age: short(waits) }) : t("admin.seal_key"))
      : el("p", { class: "quiet" }, waits ? t("admin.seal_waits", { age: short(waits) }) : t("admin.seal_all")),
    seal ? el("details", {}, el("summary", { class: "quiet" }, t("admin.seal_keep")), el("code", { class: "secret" }, `${seal.number}:${seal.digest}`)) : null,
  ];
}

export function auditSearch(box) {
  const sealed = el("section", { class: "card", "data-keep": true, "data-key": "audit-seal", "aria-label": t("admin.sealed") });
  const results = el("div", { class: "stack", "data-keep": true, "data-key": "audit-results" });
  const form = el(
    "form",
    { class: "stack", "data-keep": true, "data-key": "audit-form", role: "search" },
    el(
      "div",
      { class: "two" },
      ["actor", "action", "case_id"].map((name) => el("label", {}, t(`admin.${name}`), el("input", { name, autocomplete: "off", placeholder: t(`admin.${name}_hint`) }))),
      ["from_at", "until_at"].map((name) => el("label", {}, t(`admin.${name}`), el("input", { name, type: "datetime-local" }))),
    ),
    el("button", { type: "submit", class: "primary" }, t("admin.search")),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    press(form.querySelector("button"), () => search(form, results, null));
  });
  paint(box, el("h2", { "data-key": "head" }, t("admin.audit")), el("p", { class: "quiet", "data-key": "why" }, t("admin.audit_why")), sealed, form, results);
  showSeal(sealed);
}

async function search(form, results, after) {
  const query = new URLSearchParams();
  for (const [name, value] of new FormData(form)) {
    if (value.trim()) query.set(name, name.endsWith("_at") ? new Date(value).toISOString() : value.trim());
  }
  if (after) query.set("after", after);
  let page;
  try {
    page = await api("GET", `/admin/audit?${query}`);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    return notice(wordsOf(problem), "bad");
  }
  const rows = page.entries.map((entry) =>
    el(
      "tr",
      {},
      el("td", {}, stamp.format(new Date(entry.at))),
      el("td", {}, page.names[entry.actor] ?? entry.actor),
      el("td", {}, entry.action),
      el("td", {}, entry.case_id?.slice(0, 8) ?? "–"),
      el("td", { class: "notes" }, JSON.stringify(entry.details)),
    ),
  );
  const more = el("button", { type: "button" }, t("admin.more"));
  more.addEventListener("click", () => press(more, () => search(form, results, page.next)));
  const shown = rows.length
    ? el(
        "div",
        { class: "scroll", tabindex: 0, role: "region", "aria-label": t("admin.audit") },
        el(
          "table",
          {},
          el("thead", {}, el("tr", {}, ["at", "actor", "action", "case_id", "details"].map((name) => el("th", { scope: "col" }, t(`admin.${name}`))))),
          el("tbody", {}, rows),
        ),
      )
    : el("p", { class: "quiet empty" }, t("admin.nothing"));
  results.replaceChildren(shown, ...(page.next ? [more] : []));
}
