// What the networks marked, over the film in the viewer. dwv has a layer for annotations, but there
// a box is a measurement that a hand may drag, stretch and delete, and its pictures must be DICOM: a
// mark is none of ours to move, and a heatmap is a PNG. So an SVG lies over dwv's canvas, takes no
// press, and has neither scale nor offset of its own: whenever dwv has drawn, each mark is placed by
// the very numbers that dwv drew with. Lines and words keep their size on the screen.

const SVG = "http://www.w3.org/2000/svg";
const LINE_PX = 20; // a box's words stand above it, or within it where there is no room

function make(name, attributes) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

function drawn({ box, heat, words }, image, version) {
  const { width_px: right, height_px: bottom } = image;
  if (heat) {
    const href = `${image.url}/heatmap?v=${version}&label=${encodeURIComponent(heat)}`;
    return { x0: 0, y0: 0, x1: right, y1: bottom, nodes: [make("image", { href, preserveAspectRatio: "none" })] };
  }
  const text = make("text", {});
  text.append(words);
  return { ...box, nodes: [make("rect", {}), text] };
}

/** An empty layer: show(marks, image, version) says what lies in it, follow(view) where. */
export function markLayer() {
  const svg = make("svg", { class: "viewer-marks", "aria-hidden": "true" }); // its words are the switches
  let marks = [];
  let film = null; // pixels of the film that the marks are told in
  let seen = null; // how dwv drew: pixels of its film, their size on the screen, what is out of it

  function place() {
    if (!seen || !film) return;
    const at = (x, y) => ({
      x: ((x * seen.size.x) / film.width_px - seen.offset.x) * seen.scale.x,
      y: ((y * seen.size.y) / film.height_px - seen.offset.y) * seen.scale.y,
    });
    for (const { x0, y0, x1, y1, nodes } of marks) {
      const [from, to] = [at(x0, y0), at(x1, y1)];
      const [shape, text] = nodes;
      const spot = { x: from.x, y: from.y, width: to.x - from.x, height: to.y - from.y };
      for (const [name, value] of Object.entries(spot)) shape.setAttribute(name, value.toFixed(2));
      text?.setAttribute("x", (from.x + 4).toFixed(2));
      text?.setAttribute("y", (from.y < LINE_PX ? from.y + LINE_PX : from.y - 6).toFixed(2));
    }
  }

  return {
    svg,
    show(wanted, image, version) {
      film = image;
      marks = wanted.map((mark) => drawn(mark, image, version));
      // Heat first: no colour lies over a line.
      svg.replaceChildren(...[...marks].sort((a, b) => a.nodes.length - b.nodes.length).flatMap(({ nodes }) => nodes));
      place();
    },
    follow(view) {
      seen = view;
      place();
    },
  };
}
