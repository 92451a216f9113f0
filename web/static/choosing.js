// The control room's choice for one case: who suits it and why, pin, veto, assign, let it go on.

import { actions, api, countdown, el, notice, number, press, roomName, serverNow, t, time, word, config } from "./page.js";
import { nearest, withDistance } from "./nearest.js";
import { eta } from "./patient.js";

const SEEKING = new Set(["received", "offering", "unplaced"]);
const rankings = new Map(); // case id to its rows, as of when somebody asked

/** Whether a case waits for the control room just now. */
export function waitsForUs(shown) {
  return shown.status === "received" && Date.parse(shown.control_room_until_at ?? "") > serverNow();
}

/** Everything that the control room can say about a case that nobody holds. */
export function choosing(shown, rooms) {
  if (shown.elsewhere && shown.status !== "arrived") return outside(shown);
  if (!SEEKING.has(shown.status)) return null;
  const named = new Map(rooms.map((room) => [room.id, roomName(room)]));
  return el(
    "section",
    { class: "choosing" },
    el("h4", {}, t("choosing.title")),
    waitsForUs(shown)
      ? el(
          "p",
          { class: "note warn" },
          t("choosing.waits"),
          " ",
          countdown(shown.control_room_until_at),
          " ",
          el("button", { type: "button", "data-do": "proceed", "data-case": shown.id }, t("choosing.proceed")),
        )
      : null,
    shown.directives?.length
      ? el(
          "ul",
          { class: "directives" },
          shown.directives.map((said) =>
            el(
              "li",
              { "data-key": `${shown.id}-${said.emergency_room_id}` },
              el("b", {}, t(`choosing.${said.kind}_shown`)),
              ` ${named.get(said.emergency_room_id) ?? ""}: ${said.reason} `,
              el(
                "button",
                {
                  type: "button",
                  class: "link",
                  "data-do": "lift",
                  "data-case": shown.id,
                  "data-room": said.emergency_room_id,
                },
                t("choosing.lift"),
              ),
            ),
          ),
        )
      : null,
    el(
      "form",
      { "data-choose": shown.id, "data-key": `${shown.id}-choose`, "data-keep": true, class: "stack" },
      el(
        "label",
        {},
        t("choosing.room"),
        el("select", { name: "room", required: true }, el("option", { value: "" }, t("choosing.none")), nearest(shown, rooms).map((room) => el("option", { value: room.id }, withDistance(room)))),
      ),
      el(
        "label",
        {},
        t("choosing.reason"),
        el("input", { name: "reason", required: true, minlength: 2, maxlength: 500, autocomplete: "off" }),
      ),
      el(
        "p",
        { class: "row" },
        el("button", { type: "submit", name: "act", value: "pin" }, t("choosing.pin")),
        " ",
        el("button", { type: "submit", name: "act", value: "veto" }, t("choosing.veto")),
        " ",
        el("button", { type: "submit", name: "act", value: "assign", class: "primary" }, t("choosing.assign")),
      ),
    ),
    el(
      "details",
      { "data-key": `${shown.id}-elsewhere` },
      el("summary", t("crew.elsewhere")),
      el(
        "form.stack",
        { "data-elsewhere": shown.id, "data-keep": true, "data-key": `${shown.id}-elsewhere-form` },
        el("p.quiet", t("elsewhere.hint")),
        el("label", t("elsewhere.hospital"), el("input", { name: "hospital", required: true, minlength: 2, maxlength: 120, autocomplete: "off" })),
        el("label", t("elsewhere.phone"), el("input", { name: "phone", type: "tel", maxlength: 40, autocomplete: "off" })),
        el("label", t("common.reason"), el("input", { name: "reason", required: true, minlength: 2, maxlength: 500, autocomplete: "off" })),
        el("button", { type: "submit" }, t("elsewhere.save")),
      ),
    ),
    ranking(shown),
  );
}

/** What was written down of a hospital outside, and the way back. */
function outside(shown) {
  const { emergency_room: room, reason, recorded_at: at, recorded_by_role: by } = shown.elsewhere;
  return el(
    "section.choosing",
    el("p", el("strong", roomName(room)), ` · ${word("role", by)} · ${time(at)} · ${reason}`),
    el("button", { type: "button", "data-do": "notElsewhere", "data-case": shown.id }, t("elsewhere.end")),
  );
}

function ranking(shown) {
  const rows = rankings.get(shown.id);
  return el(
    "details",
    { "data-key": `${shown.id}-ranking` },
    el("summary", { "data-do": "rank", "data-case": shown.id }, t("choosing.ranking")),
    rows
      ? el(
          "ol",
          {},
          rows.map((row) =>
            el(
              "li",
              { "data-key": `${shown.id}-${row.emergency_room.id}-rank` },
              el("b", {}, roomName(row.emergency_room)),
              " ",
              t("choosing.expected", { n: number(row.expected_min) }),
              [" · ", eta(row)],
              el("small", { class: "more" }, ` ${row.reasons.map((r) => r[config.language] ?? r.en).join("; ")}`),
            ),
          ),
        )
      : el("p", { class: "quiet" }, t("common.loading")),
  );
}

/** Wire the buttons; changed(id) is called after each act with the case that it was about. */
export function wireChoosing(changed, show) {
  actions.rank = async (summary) => {
    const id = summary.dataset.case;
    await press(summary, async () => {
      rankings.set(id, await api("GET", `/control-room/cases/${id}/ranking`));
      show();
    });
  };
  actions.lift = (button) => {
    const { case: id, room } = button.dataset;
    act(button, id, "DELETE", `/control-room/cases/${id}/directives/${room}`);
  };
  actions.proceed = (button) => {
    const id = button.dataset.case;
    act(button, id, "POST", `/control-room/cases/${id}/proceed`);
  };

  actions.notElsewhere = (button) => act(button, button.dataset.case, "POST", `/cases/${button.dataset.case}/elsewhere/end`);

  function act(button, id, method, path, body) {
    return press(button, async () => {
      try {
        await api(method, path, body);
      } finally {
        await changed(id);
      }
    });
  }

  document.addEventListener("submit", async (event) => {
    const outsideOf = event.target.dataset.elsewhere;
    if (outsideOf) {
      event.preventDefault();
      return act(event.submitter, outsideOf, "POST", `/cases/${outsideOf}/elsewhere`, Object.fromEntries(new FormData(event.target)));
    }
    const id = event.target.dataset.choose;
    if (!id) return;
    event.preventDefault();
    const { room, reason } = event.target.elements;
    const kind = event.submitter?.value ?? "pin";
    const path = `/control-room/cases/${id}`;
    const said = reason.value;
    const problem =
      kind === "assign"
        ? await act(event.submitter, id, "POST", `${path}/assign`, { emergency_room_id: room.value, reason: reason.value })
        : await act(event.submitter, id, "PUT", `${path}/directives/${room.value}`, { kind, reason: reason.value });
    if (problem) return;
    if (reason.value === said) reason.value = ""; // somebody may be writing the next one already
    notice(t(`choosing.${kind}_done`));
  });
}
