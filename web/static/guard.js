// "Is this patient on the way already?": said beside a case, answered by a person, refuses nothing.

import { actions, api, button, el, press, t, time, word } from "./page.js";
import { call } from "./show.js";

/** The open questions about a case. Calling it off takes a second press, after "the same patient". */
export function guard(shown) {
  return (shown.possible_duplicates ?? []).map((other) => {
    const said = other.same_said_at;
    const answer = (how, style) => button("guardAnswer", t(`guard.${how}`), { path: `${other.id}/${how}`, case: shown.id }, style);
    return el(
      "section.note.warn.guard",
      { "data-key": `guard-${other.id}` },
      el("strong", t(`guard.${other.reason}`, { unit: other.call_sign, id: other.case_id.slice(0, 8), time: time(other.received_at) })),
      said && el("p", t("guard.said_same", { who: word("party", other.same_said_by), time: time(said) })),
      el(
        "p.buttons",
        !other.same_unit && call(other.phone),
        answer("different"),
        said ? answer("cancel", "danger") : answer("same"),
      ),
    );
  });
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
