// The page of administrators: units, people, devices, settings, the audit.

import { actions, api, el, notice, paint, press, refusal, roomName, session, t, word, wordsOf } from "./page.js";
import { fieldsOf, formOf, values } from "./admin_forms.js";
import { auditSearch } from "./admin_audit.js";
import { watch } from "./watch.js";

const KINDS = ["ambulances", "emergency-rooms", "accounts", "devices", "settings", "audit"];
const COLUMNS = {
  ambulances: ["call_sign", "phone", "active"],
  "emergency-rooms": ["name", "name_ko", "region", "level", "phone", "active"],
  accounts: ["sign_in_name", "display_name", "role", "unit", "active"],
  devices: ["label", "role", "unit", "revoked_at"],
  settings: ["name", "value", "source", "environment", "range"],
};
const NAMES = new Set(["name_ko", "display_name", "unit"]);
const EVERY_MS = 5000;
const box = document.getElementById("admin");
const panel = document.getElementById("panel");
const body = document.getElementById("panel-body");
const heading = document.getElementById("panel-title");
const state = { kind: KINDS[0], rows: [], units: { ambulances: [], "emergency-rooms": [] } };
let came = null;

function key(kind) {
  return kind.replaceAll("-", "_");
}

function unitName(row) {
  const all = [...state.units.ambulances, ...state.units["emergency-rooms"]];
  const unit = all.find((one) => one.id === (row.ambulance_id ?? row.emergency_room_id));
  return unit ? (unit.call_sign ?? roomName(unit)) : "–";
}

function cell(row, column) {
  if (column === "unit") return unitName(row);
  if (column === "active") return t(row.active ? "admin.yes" : "admin.no");
  if (column === "role") return word("role", row.role);
  if (column === "level") return word("level", row.level);
  if (column === "range") return `${row.low} – ${row.high}`;
  if (column === "source") return word("admin.source", row.source);
  if (column === "name" && state.kind === "settings") return [word("setting", row.name), el("small", { class: "quiet" }, ` ${row.name}`)];
  if (column === "revoked_at") return row.revoked_at ? t("admin.revoked") : t("admin.in_use");
  return row[column] || "–";
}

function buttons(row) {
  const one = (name, danger) => el("button", { type: "button", class: danger ? "danger" : "plain", "data-do": name, "data-id": row.id ?? row.name }, t(`admin.${name}`));
  if (state.kind === "devices") return row.revoked_at ? "–" : one("revoke", true);
  if (state.kind === "settings") return [one("edit"), row.source === "table" ? one("forget") : null];
  if (state.kind === "accounts") return [one("edit"), one("reset", true), one("end_sessions", true)];
  return one("edit");
}

function list() {
  const columns = COLUMNS[state.kind];
  const caption = t(`admin.${key(state.kind)}`);
  paint(
    box,
    el("h2", { "data-key": "head" }, caption),
    state.kind === "settings"
      ? el("p", { class: "quiet", "data-key": "why" }, t("admin.settings_why"))
      : el("button", { type: "button", class: "primary", "data-do": "add", "data-key": "add" }, t("admin.add")),
    state.rows.length
      ? el(
          "div",
          { class: "scroll", tabindex: 0, role: "region", "aria-label": caption, "data-key": `table-${state.kind}` },
          el(
            "table",
            {},
            el("thead", {}, el("tr", {}, columns.map((name) => el("th", { scope: "col" }, t(`admin.${name}`))), el("th", { scope: "col" }, t("admin.act")))),
            el(
              "tbody",
              {},
              state.rows.map((row) =>
                el(
                  "tr",
                  { "data-key": row.id ?? row.name },
                  columns.map((name, i) => el(i ? "td" : "th", i ? { class: NAMES.has(name) && "name" } : { scope: "row" }, cell(row, name))),
                  el("td", {}, el("span", { class: "buttons" }, buttons(row))),
                ),
              ),
            ),
          ),
        )
      : el("p", { class: "quiet empty", "data-key": "none" }, t("admin.nothing")),
  );
}

async function load() {
  try {
    const [ambulances, rooms] = await Promise.all([api("GET", "/admin/ambulances"), api("GET", "/admin/emergency-rooms")]);
    state.units = { ambulances, "emergency-rooms": rooms };
    state.rows = state.kind === "audit" ? [] : (state.units[state.kind] ?? (await api("GET", `/admin/${state.kind}`)));
  } catch (problem) {
    return notice(wordsOf(refusal(problem)), "bad");
  }
  if (state.kind === "audit") auditSearch(box);
  else list();
}

function tabs() {
  paint(
    document.getElementById("tabs"),
    ...KINDS.map((kind) => el("button", { type: "button", class: "plain", "data-do": "tab", "data-kind": kind, "aria-pressed": String(kind === state.kind) }, t(`admin.${key(kind)}`))),
  );
}

function open(title, ...content) {
  if (!panel.open) {
    came = document.activeElement;
    panel.showModal();
  }
  heading.textContent = title;
  paint(body, ...content);
  heading.focus();
}

panel.addEventListener("close", () => {
  paint(body); // a secret that was shown once is gone
  if (came?.isConnected) came.focus();
});

/** What is shown this once: it cannot be fetched again. */
function once(title, secret) {
  const copy = el("button", { type: "button", class: "primary" }, t("admin.copy"));
  copy.addEventListener("click", () => navigator.clipboard.writeText(secret).then(() => notice(t("admin.copied")), () => notice(t("admin.copy_failed"), "bad")));
  open(title, el("p", { class: "note warn" }, t("admin.once")), el("code", { class: "secret", tabindex: 0 }, secret), copy);
}

function ask(row) {
  const fields = fieldsOf(state.kind, row, state.units);
  const form = formOf(fields, row);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    press(form.querySelector("[type=submit]"), async () => {
      const said = values(form, fields);
      const path = `/admin/${state.kind}`;
      let answer;
      try {
        if (!row) answer = await api("POST", path, said);
        else if (state.kind === "settings") answer = await api("PUT", `${path}/${row.name}`, { ...said, version: row.version });
        else answer = await api("PATCH", `${path}/${row.id}`, { ...said, version: row.version });
      } finally {
        await load(); // refused: what is opened next is as it is now
      }
      if (answer.token) return once(answer.label, answer.token);
      if (answer.link) return once(answer.display_name, answer.link);
      panel.close();
      notice(t("admin.saved"));
    });
  });
  open(row ? (row.call_sign ?? row.display_name ?? row.name) : t("admin.add"), form);
}

function find(id) {
  return state.rows.find((row) => (row.id ?? row.name) === id);
}

function act(path, said, body) {
  return (button) => {
    const row = find(button.dataset.id);
    // Twice within five seconds: what ends somebody's work is not pressed by chance.
    if (button.classList.contains("danger") && !button.dataset.armed) {
      button.dataset.armed = "1";
      button.textContent = t("admin.sure");
      setTimeout(() => {
        delete button.dataset.armed;
        list();
      }, 5000);
      return;
    }
    press(button, async () => {
      const answer = await api("POST", path(row), body?.(row));
      await load();
      if (answer.link) once(answer.display_name, answer.link);
      else notice(t(said));
    });
  };
}

Object.assign(actions, {
  tab(button) {
    state.kind = button.dataset.kind;
    tabs();
    paint(box);
    load();
  },
  add: () => ask(null),
  edit: (button) => ask(find(button.dataset.id)),
  revoke: act((row) => `/admin/devices/${row.id}/revoke`, "admin.revoked"),
  reset: act((row) => `/admin/accounts/${row.id}/reset-password`, "admin.saved"),
  end_sessions: act((row) => `/admin/accounts/${row.id}/end-sessions`, "admin.sessions_ended"),
  forget: act((row) => `/admin/settings/${row.name}/forget`, "admin.saved", (row) => ({ version: row.version })),
  close_panel: () => panel.close(),
});

session()
  .then((who) => paint(document.getElementById("who"), who.display_name))
  .catch(() => {});
tabs();
load();
watch(() => api("GET", "/session"), EVERY_MS);
