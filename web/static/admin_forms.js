// Forms of the administrators' page: which fields a unit, person, device or setting has.

import { config, el, roomName, t, word } from "./page.js";

const ROLES = ["crew", "emergency_room", "control_room", "operations", "admin"];
const LEVELS = ["regional", "local_centre", "local"];

function unitFields(units) {
  const none = [["", "–"]];
  return [
    { name: "ambulance_id", kind: "select", options: [...none, ...units.ambulances.map((unit) => [unit.id, unit.call_sign])], nullable: true },
    { name: "emergency_room_id", kind: "select", options: [...none, ...units["emergency-rooms"].map((room) => [room.id, roomName(room)])], nullable: true },
  ];
}

/** The fields of a kind; `row` is what is changed, null for a new one. */
export function fieldsOf(kind, row, units) {
  const role = { name: "role", kind: "select", options: ROLES.map((code) => [code, word("role", code)]) };
  const active = row ? [{ name: "active", kind: "check" }] : [];
  switch (kind) {
    case "ambulances":
      return [{ name: "call_sign", required: true, max: 40 }, { name: "phone", kind: "tel", max: 40, nullable: true }, ...active];
    case "emergency-rooms":
      return [
        { name: "name", required: true, max: 120 },
        { name: "name_ko", max: 120, nullable: true },
        { name: "region", max: 60 },
        { name: "phone", kind: "tel", max: 40, nullable: true },
        { name: "address", max: 200, nullable: true },
        { name: "latitude", kind: "number", required: true, min: -90, high: 90 },
        { name: "longitude", kind: "number", required: true, min: -180, high: 180 },
        { name: "level", kind: "select", options: LEVELS.map((code) => [code, word("level", code)]) },
        { name: "capabilities", kind: "many", options: config.capabilities.map((code) => [code, word("capability", code)]) },
        { name: "notify_email", kind: "email", max: 254, nullable: true },
        { name: "notify_webhook", kind: "url", max: 500, nullable: true },
        ...active,
      ];
    case "accounts":
      return [
        ...(row ? [] : [{ name: "sign_in_name", required: true, max: 60 }]),
        { name: "display_name", required: true, max: 80 },
        role,
        ...unitFields(units),
        ...active,
      ];
    case "devices":
      return [{ name: "label", required: true, max: 80 }, role, ...unitFields(units)];
    default:
      return [{ name: "value", required: true, max: 60 }];
  }
}

export function formOf(fields, row) {
  return el(
    "form",
    { class: "stack", "data-keep": true },
    el("div", { class: "two" }, fields.map((field) => fieldOf(field, row?.[field.name]))),
    el("button", { type: "submit", class: "primary big" }, t("admin.save")),
  );
}

function fieldOf(field, value) {
  const name = t(`admin.${field.name}`);
  if (field.kind === "many") {
    return el(
      "fieldset",
      { class: "checks" },
      el("legend", {}, name),
      field.options.map(([code, words]) => el("label", { class: "check" }, el("input", { type: "checkbox", name: field.name, value: code, checked: value?.includes(code) }), el("span", {}, words))),
    );
  }
  if (field.kind === "check") {
    return el("label", { class: "check" }, el("input", { type: "checkbox", name: field.name, checked: value }), el("span", {}, name));
  }
  if (field.kind === "select") {
    return el("label", {}, name, el("select", { name: field.name }, field.options.map(([code, words]) => el("option", { value: code, selected: code === (value ?? "") }, words))));
  }
  const step = field.kind === "number" ? "any" : null;
  return el("label", {}, name, el("input", { name: field.name, type: field.kind ?? "text", value: value ?? null, required: field.required, maxlength: field.max, min: field.min, max: field.high, step, autocomplete: "off" }));
}

/** What the form says, as the API takes it. */
export function values(form, fields) {
  const said = new FormData(form);
  return Object.fromEntries(
    fields.map((field) => {
      if (field.kind === "many") return [field.name, said.getAll(field.name)];
      if (field.kind === "check") return [field.name, said.has(field.name)];
      const text = String(said.get(field.name) ?? "").trim();
      if (field.kind === "number") return [field.name, Number(text)];
      return [field.name, text === "" && field.nullable ? null : text];
    }),
  );
}
