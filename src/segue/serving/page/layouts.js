// A layout that was drawn: painted with a brush, or drawn anew from its boxes when one is moved; and captioned.
import { $, button, make, state, working } from "./page.js";
import { ask } from "./server.js";
import { STEPS, bitmap, outline, paint, view } from "./view.js";
import { greyPng } from "./png.js";

// values: the class of each pixel. boxes: what the layout was drawn from. moving: whether a pointer moves boxes, not
// the brush. question: what was asked for it. before, after: what undo and redo go to.
let layout = null;

// The classes that are seen, with their colours.
export function legend(entries, more = () => ({})) {
  return make("ul", { class: "legend" }, ...entries.map(({ name, colour }, i) => make("li", {}, make("span", { class: "swatch", style: { background: colour } }), make("span", more(i), name))));
}

export const colourOf = (one) => `rgb(${one.colour.join()})`;

async function valuesOf(base64, classes) {
  const image = await bitmap(base64), pen = new OffscreenCanvas(image.width, image.height).getContext("2d");
  pen.drawImage(image, 0, 0);
  const pixels = pen.getImageData(0, 0, image.width, image.height).data, values = new Uint8Array(image.width * image.height);
  const known = new Map(classes.map((one, k) => [one.colour.join(), k]));
  for (let p = 0; p < values.length; p++) values[p] = known.get([...pixels.slice(4 * p, 4 * p + 3)].join()) ?? 255;
  return { values, width: image.width, height: image.height };
}

// back: shows the answer again. list(captions): their elements.
export async function edit(result, i, { question, back, list }) {
  const { layout: drawn, boxes, seed } = result.layouts[i], found = await valuesOf(drawn, result.classes);
  layout = {
    ...found, boxes, cursor: [found.width, found.height].map((length) => Math.round(length / 2)), chosen: 0, moving: false, turn: 0,
    classes: result.classes, question: { ...question, num: 1, seed, model: result.model }, before: [], after: [],
  };
  const words = make("div", { id: "words" }), go = button("Caption it", () => working(go, async (current) => {
    const { values, width, height } = layout, captions = await ask("caption-layout", { layout: await greyPng(values, width, height), num: 3, model: result.model });
    if (!current()) return;
    state.result = captions;
    words.replaceChildren(list(captions.captions));
  }), { class: "go" });
  const kinds = boxes.length ? [make("label", { class: "inline" }, make("input", { type: "checkbox", id: "moving", onchange: (event) => { layout.moving = event.target.checked; paint(); } }), "Move boxes, and have it drawn anew")] : [];
  $("answer").replaceChildren(
    make("p", {}, "Paint on the layout (or move the cross by the arrow keys and press space), then caption it."),
    make("div", { class: "row" },
      make("select", { id: "class", "aria-label": "Class of the brush" }, ...result.classes.map((one, k) => make("option", { value: k }, one.name))),
      make("input", { id: "brush", type: "range", min: 1, max: 24, value: 6, "aria-label": "Size of the brush" }),
      button("Undo", undo, { id: "undo", disabled: true }), button("Redo", redo, { id: "redo", disabled: true })),
    ...kinds, make("div", { class: "row" }, go, button("Back", back)), make("div", { id: "seen" }), words);
  view.tool = tool;
  paint();
}

const copy = () => ({ values: layout.values.slice(), boxes: layout.boxes.map((one) => ({ ...one, box: [...one.box] })) });

function remember() {
  layout.before.push(copy());
  layout.after = [];
}

function step(from, to) {
  if (!from.length) return;
  to.push(copy());
  Object.assign(layout, from.pop());
  paint();
}

const undo = () => step(layout.before, layout.after);
const redo = () => step(layout.after, layout.before);

function paintLayout(canvas, pen) {
  const { values, width, height, classes, boxes, moving, chosen } = layout;
  canvas.width = width; canvas.height = height;
  const pixels = pen.createImageData(width, height);
  values.forEach((v, p) => pixels.data.set([...(classes[v]?.colour ?? [0, 0, 0]), 255], 4 * p));
  pen.putImageData(pixels, 0, 0);
  if (moving) boxes.forEach((one, i) => outline(pen, one.box, i === chosen ? 1.5 : 1));
  else if (document.activeElement === canvas && canvas.matches(":focus-visible")) {
    const [x, y] = layout.cursor;
    pen.lineWidth = Math.max(1, width / 128); pen.strokeStyle = "#fff";
    pen.beginPath(); pen.moveTo(x - 4, y); pen.lineTo(x + 4, y); pen.moveTo(x, y - 4); pen.lineTo(x, y + 4); pen.stroke();
  }
  const there = [...new Set(values)].sort((a, b) => a - b);
  canvas.setAttribute("aria-label", `Layout ${width} by ${height}, of ${there.map((v) => classes[v]?.name ?? "unknown").join(", ")}`
    + (moving ? `; the box of ${boxes[chosen].label} at ${boxes[chosen].box.map(Math.round).join(", ")}` : ""));
  $("seen").replaceChildren(legend(there.filter((v) => classes[v]).map((v) => ({ name: classes[v].name, colour: colourOf(classes[v]) }))));
  $("undo").disabled = !layout.before.length;
  $("redo").disabled = !layout.after.length;
}

function dab([x, y]) {
  const radius = Number($("brush").value), value = Number($("class").value), { values, width, height } = layout;
  for (let row = Math.max(0, Math.floor(y - radius)); row < Math.min(height, y + radius); row++) {
    for (let column = Math.max(0, Math.floor(x - radius)); column < Math.min(width, x + radius); column++) {
      if ((row - y) ** 2 + (column - x) ** 2 <= radius ** 2) values[row * width + column] = value;
    }
  }
  paint();
}

function moveBox(dx, dy) {
  const { width, height, boxes, chosen } = layout, [x, y, w, h] = boxes[chosen].box;
  boxes[chosen].box = [Math.min(Math.max(x + dx, 0), width - w), Math.min(Math.max(y + dy, 0), height - h), w, h];
  paint();
}

function redraw() {
  return working($("moving"), async (current) => {
    const mine = layout, turn = ++mine.turn, { layouts: [drawn] } = await ask("draw", { ...mine.question, boxes: mine.boxes });
    const { values } = await valuesOf(drawn.layout, mine.classes);
    if (!current() || turn !== mine.turn) return;  // the box was moved on
    mine.values = values;
    if (view.tool === tool) paint();
  });
}

let held = null;  // where the box that is moved was last

const tool = {
  paint: paintLayout,
  down(point) {
    if (!layout.moving) { remember(); return dab(point); }
    const under = layout.boxes.map((one, i) => [one.box, i]).filter(([[x, y, w, h]]) => point[0] >= x && point[1] >= y && point[0] <= x + w && point[1] <= y + h);
    if (!under.length) return;
    layout.chosen = under.sort((a, b) => a[0][2] * a[0][3] - b[0][2] * b[0][3])[0][1];
    remember();
    held = point;
    paint();
  },
  move(point) {
    if (!layout.moving) return dab(point);
    if (!held) return;
    moveBox(point[0] - held[0], point[1] - held[1]);
    held = point;
  },
  up() {
    if (layout.moving && held) redraw();
    held = null;
  },
  key(event) {
    const wanted = STEPS[event.key], { cursor, width, height } = layout;
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") (event.shiftKey ? redo : undo)();
    else if ((event.ctrlKey || event.metaKey) && event.key === "y") redo();
    else if (layout.moving && wanted) {
      remember();
      moveBox(4 * wanted[0], 4 * wanted[1]);
      redraw();
    } else if (wanted) {
      [width, height].forEach((end, i) => { cursor[i] = Math.min(Math.max(cursor[i] + 4 * wanted[i], 0), end - 1); });
      paint();
    } else if (event.key === " ") {
      remember();
      dab(cursor);
    } else return false;
    return true;
  },
};
