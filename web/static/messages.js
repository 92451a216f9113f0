// The messages of a case: sent, delivered, read. "Read" is said by a person's own tap.

import { actions, api, button, config, el, patiently, press, t, time, word } from "./page.js";

const byCase = new Map();

/** Fetch a case's messages (which counts as delivered), then call changed(). */
export async function loadMessages(caseId, changed) {
  const found = await patiently(api("GET", `/cases/${caseId}/messages`));
  if (!found) return;
  byCase.set(caseId, found);
  changed();
}

/** Unread messages to us, for a badge. */
export function unread(caseId) {
  return (byCase.get(caseId) ?? []).filter((m) => !mine(m) && m.status !== "seen").length;
}

function mine(message) {
  return message.sender === config.audience;
}

function party(audience) {
  return word("party", audience.split(":")[0]);
}

/** The thread and the form; `to` lists the parties that may be written to. */
export function messages(caseId, to) {
  const list = byCase.get(caseId) ?? [];
  const count = unread(caseId);
  return el(
    "details.messages",
    { open: count > 0, "data-key": `messages-${caseId}` },
    el(
      "summary",
      t("messages.title"),
      list.length ? ` (${list.length})` : "",
      count > 0 && el("span.badge", count),
    ),
    el(
      "ul.thread",
      !list.length && el("li.quiet", t("messages.none")),
      list.map((message) => one(message)),
    ),
    to.length > 0 && form(caseId, to),
  );
}

function one(message) {
  const from = mine(message) ? t("messages.you") : party(message.sender);
  return el(
    "li",
    { class: mine(message) ? "mine" : "theirs", "data-key": message.id },
    el(
      "p.quiet",
      `${from} → ${party(message.recipient)} · ${time(message.sent_at)}`,
      mine(message) && ` · ${t("message.status." + message.status)}`,
    ),
    el("p.body", message.body),
    !mine(message) &&
      message.status !== "seen" &&
      button("messageRead", t("messages.read"), { message: message.id, case: message.case_id }),
  );
}

function form(caseId, to) {
  return el(
    "form",
    { "data-message-form": caseId, "data-keep": true, "data-key": `form-${caseId}-${to.join()}` },
    el(
      "label",
      t("messages.to"),
      el("select", { name: "to" }, to.map((name) => el("option", { value: name }, word("party", name)))),
    ),
    el(
      "label.grow",
      t("messages.body"),
      el("input", { name: "body", maxlength: 2000, required: true, autocomplete: "off" }),
    ),
    el("button", { type: "submit" }, t("common.send")),
  );
}

/** Wire sending and reading; changed() repaints. */
export function wireMessages(changed) {
  actions.messageRead = (pressed) =>
    press(pressed, async () => {
      await api("POST", `/messages/${pressed.dataset.message}/seen`);
      await loadMessages(pressed.dataset.case, changed);
    });
  document.addEventListener("submit", (event) => {
    const caseId = event.target.dataset.messageForm;
    if (!caseId) return;
    event.preventDefault();
    const { to, body } = event.target.elements;
    if (!body.value.trim()) return;
    press(event.target.querySelector("button"), async () => {
      await api("POST", `/cases/${caseId}/messages`, { to: to.value, body: body.value });
      body.value = "";
      await loadMessages(caseId, changed);
    });
  });
}
