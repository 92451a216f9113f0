// A map of ambulances and emergency rooms (Leaflet). Without map tiles, which an installation may
// set, it draws a grid of coordinates and a scale, so that it works where there is no Internet.

import { config, t } from "./page.js";
import { vendored } from "./vendored.js";

const maps = new WeakMap(); // the element to its map

/**
 * Draw into `node`, which must have a size: points {id, latitude, longitude, kind, name, loud} of
 * kind "ambulance" or "emergency_room", and lines [[from id, to id], …]. Again: they move.
 * `onPress(id)` hears which point was pressed, by mouse or finger only: points lie over each other,
 * so a list beside the map must open the same. Fits the view only while nobody has moved it.
 */
export async function drawMap(node, { points, lines = [], onPress = null }) {
  const L = await vendored("leaflet");
  const placed = points.filter((point) => Number.isFinite(point.latitude) && Number.isFinite(point.longitude));
  const drawn = maps.get(node) ?? start(L, node);
  drawn.layer.clearLayers();
  const at = new Map(placed.map((point) => [point.id, [point.latitude, point.longitude]]));
  for (const [from, to] of lines) {
    if (at.has(from) && at.has(to)) L.polyline([at.get(from), at.get(to)], { className: "map-line" }).addTo(drawn.layer);
  }
  for (const point of placed) {
    const html = Object.assign(document.createElement("span"), { textContent: point.kind === "ambulance" ? "A" : "+" });
    const icon = L.divIcon({
      html,
      className: `map-point map-${point.kind}${point.loud ? " loud" : ""}`,
      iconSize: [30, 30],
    });
    const marker = L.marker([point.latitude, point.longitude], { icon, alt: point.name, title: point.name, keyboard: false });
    marker.bindTooltip(Object.assign(document.createElement("span"), { textContent: point.name }), { permanent: placed.length <= 6, direction: "auto", offset: [14, 0] });
    if (onPress) marker.on("click", () => onPress(point.id));
    marker.addTo(drawn.layer);
  }
  if (!drawn.moved && placed.length) {
    drawn.fitting = true;
    drawn.map.fitBounds(L.latLngBounds([...at.values()]).pad(0.1), { maxZoom: 14, animate: false });
    drawn.fitting = false;
  }
}

function start(L, node) {
  const map = L.map(node, { zoomSnap: 0.25, attributionControl: false, zoomControl: true, zoomAnimation: !matchMedia("(prefers-reduced-motion: reduce)").matches });
  node.setAttribute("role", "region");
  if (!node.hasAttribute("aria-label")) node.setAttribute("aria-label", t("map.title"));
  map.zoomControl.setPosition("bottomright");
  L.control.scale({ imperial: false }).addTo(map);
  if (config.map_tiles) {
    L.tileLayer(config.map_tiles, { maxZoom: 19 }).addTo(map);
    if (config.map_attribution) {
      // Leaflet takes HTML here, so the words are escaped first.
      const note = Object.assign(document.createElement("span"), { textContent: config.map_attribution });
      L.control.attribution({ prefix: false }).addAttribution(new XMLSerializer().serializeToString(note.firstChild)).addTo(map);
    }
  } else {
    graticule(L).addTo(map);
  }
  const drawn = { map, layer: L.layerGroup().addTo(map), moved: false, fitting: false };
  map.on("movestart zoomstart", () => {
    if (!drawn.fitting && map._loaded) drawn.moved = true;
  });
  new ResizeObserver(() => map.invalidateSize()).observe(node);
  maps.set(node, drawn);
  return drawn;
}

/** Tiles that hold nothing but the edges of the grid and the coordinates of their corner. */
function graticule(L) {
  const Grid = L.GridLayer.extend({
    createTile(coordinates) {
      const tile = document.createElement("div");
      tile.className = "map-grid";
      const corner = this._map.unproject(coordinates.scaleBy(this.getTileSize()), coordinates.z);
      tile.textContent = `${corner.lat.toFixed(3)}, ${corner.lng.toFixed(3)}`;
      return tile;
    },
  });
  return new Grid();
}
