// Whom to ask first when somebody chooses by hand: the nearest hospital, and what it has said.

import { el, number, roomName, t, time } from "./page.js";
import { offerState } from "./patient.js";

const EARTH_KM = 6371;

/** Hospitals by the straight line from a case, nearest first, each with `km` (null: unknown). */
export function nearest(shown, rooms) {
  const far = rooms.map((room) => ({ ...room, km: distance(shown, room) }));
  return far.sort((a, b) => (a.km ?? Infinity) - (b.km ?? Infinity) || roomName(a).localeCompare(roomName(b)));
}

/** What a select shows of one. */
export function withDistance(room) {
  return room.km === null ? roomName(room) : `${roomName(room)} (${t("control.km", { n: number(room.km, room.km < 10 ? 1 : 0) })})`;
}

function distance(from, to) {
  if ([from.latitude, from.longitude, to.latitude, to.longitude].some((degrees) => (degrees ?? null) === null)) return null;
  const rad = Math.PI / 180;
  const across = Math.sin(((to.latitude - from.latitude) * rad) / 2) ** 2 + Math.cos(from.latitude * rad) * Math.cos(to.latitude * rad) * Math.sin(((to.longitude - from.longitude) * rad) / 2) ** 2;
  return 2 * EARTH_KM * Math.asin(Math.sqrt(across));
}

/** The telephone numbers of every hospital, nearest first, with its last answer to this case. */
export function phones(shown, rooms) {
  const last = new Map([...shown.offers].sort((a, b) => a.round - b.round).map((offer) => [offer.emergency_room.id, offer]));
  return [
    el("h4", t("control.phones")),
    el(
      "ul.phones",
      nearest(shown, rooms)
        .filter((room) => room.phone)
        .map((room) =>
          el(
            "li",
            { "data-key": `${shown.id}-${room.id}-phone` },
            `${withDistance(room)} `,
            el("a", { href: `tel:${room.phone}` }, room.phone),
            room.diversion_until_at ? ` · ${t("er.diversion_until", { time: time(room.diversion_until_at) })}` : null,
            last.has(room.id) ? el("small.quiet", ` · ${offerState(last.get(room.id))}`) : null,
          ),
        ),
    ),
  ];
}
