// "Is this patient on the way already?": said beside a case, answered by a person, refuses nothing.

import { actions, api, button, el, press, t, time } from "./page.js";

/** The open questions about a case. */
export function guard(shown) {
  return (shown.possible_duplicates ?? []).map((other) =>
    el(
      "section",
      { class: "note warn guard", "data-key": `guard-${other.id}` },
      el("strong", {}, t(`guard.${other.reason}`, { unit: other.call_sign, id: other.case_id.slice(0, 8), time: time(other.received_at) })),
      el(
        "p",
        { class: "buttons" },
        other.phone ? el("a", { class: "button", href: `tel:${other.phone}` }, t("common.call", { phone: other.phone })) : null,
        button("guardAnswer", t("guard.different"), { path: `${other.id}/different`, case: shown.id }),
        button("guardAnswer", t("guard.cancel"), { path: `${other.id}/cancel`, case: shown.id }),
      ),
    ),
  );
}

/** Wire the answers; changed(id) fetches the case again. */
export function wireGuard(changed) {
  actions.guardAnswer = (pressed) =>
    press(pressed, async () => {
      const { path, case: id } = pressed.dataset;
      try {
        await api("POST", `/duplicates/${path}`, path.endsWith("cancel") ? { case_id: id } : undefined);
      } finally {
        await changed(id);
      }
    });
}
